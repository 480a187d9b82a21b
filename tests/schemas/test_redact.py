"""No key of a known kind survives redaction, whatever stands around it; names of keys do."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.redact import MARK, looks_secret, redact

KEYS_OF_EACH_KIND = 2_000
ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "_-"
HEX = "0123456789abcdef"
BASE32 = string.ascii_uppercase + "234567"


def of(rng: random.Random, alphabet: str, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "openai legacy": lambda r: f"sk-{of(r, ALNUM, 20)}T3BlbkFJ{of(r, ALNUM, 20)}",
    "openai project": lambda r: f"sk-proj-{of(r, URLSAFE, 74)}T3BlbkFJ{of(r, URLSAFE, 74)}",
    "openai project, short": lambda r: f"sk-proj-{of(r, ALNUM, 20)}T3BlbkFJ{of(r, ALNUM, 20)}",
    "openai service account": lambda r: f"sk-svcacct-{of(r, URLSAFE, 58)}T3BlbkFJ{of(r, URLSAFE, 58)}",
    "openai admin": lambda r: f"sk-admin-{of(r, URLSAFE, 58)}T3BlbkFJ{of(r, URLSAFE, 58)}",
    "anthropic api": lambda r: f"sk-ant-api03-{of(r, URLSAFE, 93)}AA",
    "anthropic admin": lambda r: f"sk-ant-admin01-{of(r, URLSAFE, 93)}AA",
    "google": lambda r: f"AIza{of(r, URLSAFE, 35)}",
    "aws": lambda r: f"{r.choice(['AKIA', 'ASIA', 'ABIA', 'ACCA', 'A3TX'])}{of(r, BASE32, 16)}",
    "keyfuse": lambda r: f"kfk_{of(r, ALNUM, 38)}",
    "openrouter": lambda r: f"sk-or-v1-{of(r, HEX, 64)}",
    "litellm": lambda r: f"sk-{of(r, URLSAFE, 22)}",
    "slack bot": lambda r: f"xoxb-{of(r, string.digits, 12)}-{of(r, string.digits, 12)}-{of(r, ALNUM, 24)}",
    "slack user": lambda r: f"xoxp-{of(r, string.digits, 12)}-{of(r, string.digits, 12)}-{of(r, HEX, 32)}",
    "slack app": lambda r: f"xapp-1-A{of(r, BASE32, 10)}-{of(r, string.digits, 13)}-{of(r, HEX, 64)}",
    "slack rotated": lambda r: f"xoxe.xoxb-1-{of(r, ALNUM, 160)}",
    "webhook signing": lambda r: f"whsec_{of(r, ALNUM + '+/', 43)}=",
    "bearer": lambda r: f"Bearer {of(r, URLSAFE + '.~+/', 40)}",
}
AROUND: dict[str, Callable[[str], str]] = {
    "alone": lambda key: key,
    "json": lambda key: json.dumps({"key": key, "n": 1}),
    "json in json": lambda key: json.dumps({"body": json.dumps({"key": key})}),
    "log line": lambda key: f"2026-11-23 error key={key}, retrying in 3 s",
    "url": lambda key: f"GET https://api.example.com/v1/models?key={key}&x=1",
    "url, encoded": lambda key: "https://example.com/?auth=" + quote(f"Bearer {key}", safe=""),
    "path": lambda key: f"https://example.com/{key}/usage",
    "header": lambda key: f"{{'authorization': 'Bearer {key}', 'accept': '*/*'}}",
    "comma list": lambda key: f"a,{key},b",
    "escaped newline": lambda key: repr(f"line one\n{key}\nline three"),
    "end of sentence": lambda key: f"Incorrect API key provided: {key}.",
    "brackets": lambda key: f"<{key}|link> ({key}) [{key}]",
    "underscore": lambda key: f"my_{key}",
}


def secret_part(key: str) -> str:
    """What would be enough to know the key: its last half."""
    return key[len(key) // 2 :]


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_survives(kind: str) -> None:
    """Each of 2,000 keys of a kind is gone from each surrounding, not only in part."""
    rng = random.Random(kind)
    survivors = []
    for _ in range(KEYS_OF_EACH_KIND):
        key = KINDS[kind](rng)
        place, text = rng.choice([(place, around(key)) for place, around in AROUND.items()])
        clean = redact(text)
        if secret_part(key) in clean or quote(secret_part(key), safe="") in clean or MARK not in clean:
            survivors.append((place, clean))
    assert survivors == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", AROUND)
def test_every_surrounding_is_tried_for_every_kind(kind: str, place: str) -> None:
    key = KINDS[kind](random.Random(f"{kind} {place}"))
    text = AROUND[place](key)
    assert looks_secret(text)
    assert secret_part(key) not in redact(text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("sk-1234", "sk-…[redacted]"),
        ("Wrong API key: sk-proj-********************9xyz.", "Wrong API key: sk-proj-…[redacted]."),
        ("hidesk-Ab1dEf6hIj9kLm2nOp5qRs8t", "hidesk-…[redacted]"),
        ("AKIA" + "A" * 16 + "AIza" + "b" * 35, "AKIA…[redacted]AIza…[redacted]"),
        ("Authorization: Basic aHVudGVy", "Authorization: Basic …[redacted]"),
        ("(b'Authorization', b'Bearer hush')", "(b'Authorization', b'Bearer …[redacted]')"),
        ("x-api-key: abcdefgh", "x-api-key: …[redacted]"),
        ('{"password": "correct horse"}', '{"password": "…[redacted] horse"}'),
        ("clickhouse://kf:hunter2@ch:8443/db", "clickhouse://kf:…[redacted]@ch:8443/db"),
        ("https://hooks.slack.com/services/T0/B0/abcdefgh", "https://hooks.slack.com/services/…[redacted]"),
        ("gsk_" + "a1" * 20, "gsk_…[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def", "eyJ…[redacted]"),
        ("-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----…[redacted]"),
        ("https://x.example/hook?token=abcdef1&a=b", "https://x.example/hook?token=…[redacted]&a=b"),
    ],
)
def test_other_kinds(text: str, clean: str) -> None:
    """Beyond the table of formats: what logs of HTTP clients and stores are known to hold."""
    assert redact(text) == clean


@pytest.mark.parametrize(
    "name",
    [
        "fp1:a84029a881ee3a5626797adc981f0106",
        "apikey_01Rj2N8SVvo6BePZj99NhmiT",
        "proj_AbCdEfGhIjKlMnOpQrStUvWx/key_Ab3dEf6hIj9kLm2n",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "inc_0123456789abcdef0123",
        "key fp1:a84029a881ee3a5626797adc981f0106, was at 3 USD",
        "OPENAI_ADMIN_KEY",
        "task-3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "risk-assessment-2026-report-of-the-year",
        "sk-learn and sk-SK",
        "the bearer token is missing",
        "http://127.0.0.1:8321/v1/events and ops@example.com",
        "input_tokens: 12345678",
        "gpt-4.1-mini-2025-04-14",
        "usage.frames",
    ],
)
def test_names_pass(name: str) -> None:
    """What Keyfuse needs in order to speak of keys is never hidden."""
    assert redact(name) == name
    assert not looks_secret(name)


@given(st.text(alphabet=HEX, min_size=32, max_size=32), st.text(alphabet=HEX, min_size=64, max_size=64))
def test_every_fingerprint_and_hash_passes(fingerprint: str, key_hash: str) -> None:
    text = json.dumps({"key_id": f"fp1:{fingerprint}", "api_key": key_hash, "ref": f"apikey_{fingerprint}"})
    assert redact(text) == text


@given(st.text(alphabet=ALNUM, min_size=16, max_size=48))
def test_every_public_id_passes(body: str) -> None:
    """Public ids share an alphabet with keys; only `AIza` and the AWS prefixes inside one could be mistaken."""
    if any(prefix in body for prefix in ("AIza", "AKIA", "ASIA", "ABIA", "ACCA", "A3T", "ABSK", "eyJ")):
        return
    for text in (f"apikey_{body}", f"proj_{body}/key_{body}", f"key_{body},"):
        assert redact(text) == text


@given(st.text(), st.sampled_from(sorted(KINDS)), st.integers(), st.text())
def test_twice_is_once(before: str, kind: str, seed: int, after: str) -> None:
    once = redact(before + KINDS[kind](random.Random(seed)) + after)
    assert redact(once) == once


@pytest.mark.parametrize(
    "piece", ["xsk-", "sk-", "eyJ-", "eyJ", "://a:", "Bearer ", "a:", "authorization: bearer ", "x-a"]
)
def test_text_made_to_be_slow_is_not(piece: str) -> None:
    """The work grows with the text, not with its square: twenty times the text is done, not waited for."""
    assert len(redact(piece * 30_000)) > 0


@given(st.sampled_from(sorted(KINDS)), st.integers(), st.sampled_from(["json", "json in json"]))
def test_json_stays_json(kind: str, seed: int, place: str) -> None:
    """A redacted log line can still be parsed."""
    json.loads(redact(AROUND[place](KINDS[kind](random.Random(seed)))))
