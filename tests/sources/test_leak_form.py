"""What a report may look like, and that no secret of it gets any further."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.envelope import Refusal
from sources.leak_form import MAX_REPORTS, Report, read_reports
from tests.schemas.test_redact import KINDS, secret_part
from tests.sources.events import NOW_MS, PROVIDER_KEY, fingerprinter

ODD = "NMIfyYncKcRALEXAMPLE"  # a secret that no rule knows: GitHub's own example
NAMED = "fp1:0123456789abcdef0123456789abcdef"


def read(body: Any, *, github: bool = False) -> tuple[list[Report], list[Refusal]]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return read_reports(data, fingerprinter(), now_ms=NOW_MS, github=github)


def only(doc: dict[str, Any], *, github: bool = False) -> Report:
    reports, refusals = read([doc], github=github)
    assert refusals == []
    (report,) = reports
    return report


def test_the_secret_becomes_a_fingerprint_and_the_hash_that_gateways_call_it_by() -> None:
    report = only({"key": f" {ODD}\n", "source": "paste"})
    digest = hashlib.sha256(ODD.encode()).hexdigest()
    assert report.names == (fingerprinter().of(ODD), digest)
    assert report.token_hash == digest


def test_a_name_stays_a_name_unless_it_is_a_secret() -> None:
    assert only({"key_id": NAMED, "source": "paste"}).names == (NAMED,)
    assert only({"key_id": "apikey_01ab", "source": "paste"}).names == ("apikey_01ab",)
    assert only({"key_id": PROVIDER_KEY, "source": "paste"}).names[0] == fingerprinter().of(PROVIDER_KEY)


def test_every_field_is_taken() -> None:
    doc = {
        "key_id": NAMED, "source": "trufflehog", "url": "https://git.example/x#L3", "by": "ci", "type": "OpenAI",
        "confidence": "low", "found_at": "2026-11-23T09:00:00Z", "unknown": 1, "key": None,
    }  # fmt: skip
    leak = only(doc).leak
    assert leak.model_dump() == {
        "source": "trufflehog", "url": "https://git.example/x#L3", "by": "ci", "kind": "OpenAI", "confidence": "low",
        "verified": False, "found_at_ms": NOW_MS - 3_600_000, "told_at_ms": NOW_MS,
    }  # fmt: skip
    assert only({"key_id": NAMED, "source": "x"}).leak.confidence == "medium"


def test_githubs_form() -> None:
    doc = {"token": ODD, "type": "mycompany_api_token", "url": "https://github.com/o/h/blob/1/f", "source": "commit"}
    report = only(doc, github=True)
    leak = report.leak
    assert (leak.source, leak.by, leak.kind, leak.url) == (
        "github commit", "github", "mycompany_api_token", "https://github.com/o/h/blob/1/f",
    )  # fmt: skip
    assert only({"token": ODD, "type": "t", "url": "", "source": None}, github=True).leak.source == "github"


@pytest.mark.parametrize(
    "body",
    [
        [{"key_id": "a", "source": "x"}, {"key_id": "b", "source": "x"}],
        b'{"key_id": "a", "source": "x"}\n{"key_id": "b", "source": "x"}\n',
    ],
)
def test_a_list_or_lines(body: Any) -> None:
    assert [report.names for report in read(body)[0]] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("doc", "field"),
    [
        ({"source": "x"}, "key_id"),
        ({"source": "x", "key": ODD, "key_id": NAMED}, "key_id"),
        ({"key_id": NAMED}, "source"),
        ({"key_id": NAMED, "source": ""}, "source"),
        ({"key_id": NAMED, "source": 3}, "source"),
        ({"key": "short", "source": "x"}, "key"),
        ({"key": 12345678, "source": "x"}, "key"),
        ({"key": "   short      ", "source": "x"}, "key"),
        ({"key_id": NAMED, "source": "x", "url": ["https://x"]}, "url"),
        ({"key_id": NAMED, "source": "x", "url": "a\x00b"}, "url"),
        ({"key_id": NAMED, "source": "x", "url": "u" * 9000}, "url"),
        ({"key_id": NAMED, "source": "x", "confidence": "certain"}, "confidence"),
        ({"key_id": NAMED, "source": "x", "found_at": "yesterday"}, "found_at"),
        ({"key_id": NAMED, "source": "x", "found_at": NOW_MS + 60_000}, "found_at"),
        ({"key_id": NAMED, "source": "x", "found_at": 1}, "found_at"),
        ("text", "key_id"),
    ],
)
def test_what_is_wrong_is_named(doc: Any, field: str) -> None:
    reports, (refusal,) = read([doc])
    assert reports == []
    assert (refusal.index, refusal.field) == (0, field)
    assert refusal.detail


@pytest.mark.parametrize("body", [b"", b"   ", b"{", b"\xff", b"[1, 2"])
def test_what_is_no_json_is_refused_as_a_whole(body: bytes) -> None:
    reports, (refusal,) = read(body)
    assert (reports, refusal.index) == ([], -1)


def test_too_many_at_once_are_refused() -> None:
    reports, (refusal,) = read([{"key_id": "k", "source": "x"}] * (MAX_REPORTS + 1))
    assert (reports, refusal.reason.value) == ([], "too_many_events")


def everything_of(report: Report) -> str:
    return f"{report.names[0]} {report.leak.model_dump_json()} {report.leak!r}"


PLACES: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: f"https://paste.example/?q={secret}&x=1",
    "quoted": lambda secret: f"https://paste.example/{quote(secret, safe='')}",
    "every letter quoted": lambda secret: "https://p.example/" + "".join(f"%{b:02x}" for b in secret.encode()),
    "half quoted": lambda secret: "https://p.example/" + f"%{ord(secret[0]):02X}" + secret[1:],
    "quoted twice": lambda secret: "https://p.example/" + quote("".join(f"%{b:02x}" for b in secret.encode())),
    "in the host": lambda secret: f"https://{secret}.example.com/",
    "as a password": lambda secret: f"https://user:{secret}@example.com/x",
    "behind the part that is kept": lambda secret: "https://p.example/" + "a" * 490 + secret,
    "behind the part that is kept, and quoted": lambda secret: "https://p.example/" + "a" * 490 + f"%41{secret}",
    "in a line of text": lambda secret: f"see\n{secret}\tthere",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [*KINDS, "odd"])
def test_a_secret_hidden_in_any_field_is_taken_out(kind: str, place: str) -> None:
    secret = ODD if kind == "odd" else KINDS[kind](random.Random(f"{kind} {place}"))
    hidden = PLACES[place](secret)
    part = secret if kind == "odd" else secret_part(secret)
    for field in ("url", "source", "by", "type"):
        if field != "url" and len(hidden) > 250:
            continue
        doc = {"key": secret, "source": "x", field: hidden}
        assert part not in everything_of(only(doc)), field
    other = {"key_id": NAMED, "source": "x", "url": hidden}
    reports, _ = read([other, {"key": secret, "source": "x"}])
    assert all(part not in everything_of(report) for report in reports), "in a neighbour's address"


def test_the_rest_of_an_address_stays() -> None:
    assert only({"key": ODD, "source": "x", "url": f"https://p.example/a?b={ODD}&c=1"}).leak.url == (
        "https://p.example/a?b=…[redacted]&c=1"
    )
    plain = "https://github.com/o/h/blob/12345600b9cbe38a219f39a9941c9319b600c002/foo%20bar.txt#L10-L12"
    assert only({"key": ODD, "source": "x", "url": plain}).leak.url == plain


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["key", "key_id", "source", "url", "by", "type", "confidence", "found_at", "token"])
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=16, max_size=40)


@given(body=st.binary(max_size=200) | JSON.map(orjson.dumps), github=st.booleans())
def test_no_body_makes_it_raise(body: bytes, github: bool) -> None:
    reports, refusals = read(body, github=github)
    assert isinstance(reports, list)
    assert all(refusal.detail or refusal.field for refusal in refusals)


@given(docs=st.lists(st.dictionaries(FIELDS, JSON | SECRETS, max_size=6), max_size=4), github=st.booleans())
def test_no_report_makes_it_raise(docs: list[dict[str, Any]], github: bool) -> None:
    reports, refusals = read(docs, github=github)
    assert len(reports) + len(refusals) == len(docs)


@given(
    secret=SECRETS, before=st.text(max_size=20), after=st.text(max_size=20),
    field=st.sampled_from(["url", "by", "type"]), codes=st.booleans(), broken=st.booleans(),
)  # fmt: skip
def test_whatever_is_said_the_secret_is_never_said_again(
    secret: str, before: str, after: str, field: str, codes: bool, broken: bool
) -> None:
    told = quote(secret, safe="") if codes else secret
    doc: dict[str, Any] = {"key": secret, "source": "somewhere", field: f"{before}{told}{after}"}
    if broken:
        doc["confidence"] = f"{before}{told}"
    reports, refusals = read([doc])
    said = "".join(map(everything_of, reports)) + "".join(map(repr, refusals))
    assert secret not in said
    assert told not in said
