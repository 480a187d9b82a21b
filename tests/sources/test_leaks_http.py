"""Leak reports over HTTP: whose key it is, who may say so, answered after the broker has it, harmless when repeated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from schemas.records import KeyFacts
from sources.errors import BrokerDown, BrokerSlow
from sources.github_keys import GithubKeys
from sources.leak_http import LeakIntake, create_leaks
from sources.leaks import LeakDesk, Taken
from tests.sources.events import NOW_MS, fingerprinter
from tests.sources.test_github_keys import Clock, Signer

TOKEN = "leaks-token"
FACTS = KeyFacts(provider="openai", team="search", app="ranker", env="prod", provider_ref="proj_1/key_1")
SEEN = KeyFacts(provider="litellm", team="ads")
REGISTERED, USED, GATEWAYS, STRANGE = "Registered-key-1", "Used-key-number-2", "Gateway-key-3", "Strange-key-4"


def fp(secret: str) -> str:
    return fingerprinter().of(secret)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class World:
    """A broker, a registry and an archive, each in memory."""

    def __init__(self) -> None:
        self.published: list[Taken] = []
        self.failure: Exception | None = None
        self.used: dict[str, KeyFacts] | None = {fp(USED): SEEN, digest(GATEWAYS): SEEN, "public_id_2": SEEN}
        self.counted: list[tuple[str, str, int]] = []
        self.signer = Signer()
        self.github = Clock(self.signer)
        self.now_ms = NOW_MS

    async def publish(self, taken: Taken) -> None:
        if self.failure is not None:
            raise self.failure
        self.published.append(taken)

    def registered(self, name: str) -> tuple[str, KeyFacts] | None:
        return (fp(REGISTERED), FACTS) if name in {fp(REGISTERED), "proj_1/key_1"} else None

    def asked(self, names: Sequence[str]) -> Mapping[str, KeyFacts] | None:
        return None if self.used is None else {name: self.used[name] for name in names if name in self.used}

    def app(self, *, trusted: bool = False, github: GithubKeys | None = None) -> FastAPI:
        desk = LeakDesk(fingerprinter(), registered=self.registered, used=self.asked, now_ms=lambda: self.now_ms)
        intake = LeakIntake(
            desk, self.publish, max_body_bytes=100_000, counted=lambda *what: self.counted.append(what)
        )  # fmt: skip
        app = FastAPI()
        app.include_router(create_leaks(intake, token=SecretStr(TOKEN), trusted=trusted, github=github))
        return app

    async def post(self, body: Any, *, token: str = TOKEN, **parts: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app(**parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://leaks") as client:
            content = body if isinstance(body, bytes) else orjson.dumps(body)
            return await client.post("/v1/leaks", content=content, headers={"Authorization": f"Bearer {token}"})

    async def hook(self, body: Any, changed: dict[str, str] | None = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        signed = {
            "Github-Public-Key-Identifier": self.signer.name, "Github-Public-Key-Signature": self.signer.sign(content),
        }  # fmt: skip
        transport = httpx.ASGITransport(self.app(github=self.github.keys))
        async with httpx.AsyncClient(transport=transport, base_url="http://leaks") as client:
            return await client.post("/v1/leaks/github", content=content, headers=signed | (changed or {}))

    @property
    def taken(self) -> Taken:
        return self.published[-1]


@pytest.fixture
def world() -> World:
    return World()


def report(**changed: Any) -> dict[str, Any]:
    given = {"source": "trufflehog", "url": "https://git.example/x", "by": "ci"} | changed
    return given if "key_id" in given or "key" in given else given | {"key": REGISTERED}


@pytest.mark.parametrize(
    ("named", "key_id", "known", "facts"),
    [
        ({"key": REGISTERED}, fp(REGISTERED), "registered", FACTS),
        ({"key_id": fp(REGISTERED)}, fp(REGISTERED), "registered", FACTS),
        ({"key_id": "proj_1/key_1"}, fp(REGISTERED), "registered", FACTS),
        ({"key": USED}, fp(USED), "in_use", SEEN),
        ({"key": GATEWAYS}, digest(GATEWAYS), "in_use", SEEN),
        ({"key_id": "public_id_2"}, "public_id_2", "in_use", SEEN),
        ({"key": STRANGE}, fp(STRANGE), "unknown", None),
        ({"key_id": "nobodys"}, "nobodys", "unknown", None),
    ],
)
async def test_whose_key_it_is(
    world: World, named: dict[str, str], key_id: str, known: str, facts: KeyFacts | None
) -> None:
    answer = await world.post(report(**named))
    assert (answer.status_code, answer.json()) == (
        202, {"accepted": 1, "reports": [{"index": 0, "key_id": key_id, "known": known}]},
    )  # fmt: skip
    assert [finding.facts for finding in world.taken.findings] == ([facts] if facts else [])
    assert [(row.action, row.key_id, row.result, row.actor) for row in world.taken.audit] == [
        ("leak", key_id, known, "ci")
    ]
    assert world.counted == [("api", known, 1)]


async def test_a_finding_says_what_was_found_where_and_by_whom(world: World) -> None:
    await world.post(report())
    (finding,) = world.taken.findings
    assert (finding.family, finding.detector, finding.severity, finding.certain) == ("leak", "api", "critical", False)
    assert finding.reason == "the key was found in trufflehog at https://git.example/x, reported by ci"
    assert finding.at_ms == NOW_MS
    assert finding.leak is not None
    assert not finding.leak.verified


@pytest.mark.parametrize(
    ("confidence", "trusted", "severity", "verified"),
    [
        ("low", False, "warning", False), ("medium", False, "critical", False), ("high", False, "critical", False),
        ("low", True, "critical", True), ("medium", True, "critical", True),
    ],
)  # fmt: skip
async def test_a_guess_only_warns_and_a_trusted_token_proves(
    world: World, confidence: str, trusted: bool, severity: str, verified: bool
) -> None:
    await world.post(report(confidence=confidence), trusted=trusted)
    (finding,) = world.taken.findings
    assert finding.leak is not None
    assert (finding.severity, finding.leak.verified) == (severity, verified)


async def test_while_the_store_is_away_a_registered_key_is_known_and_any_other_is_taken_for_ours(world: World) -> None:
    world.used = None
    answer = await world.post([report(), report(key=STRANGE)], trusted=True)
    assert [one["known"] for one in answer.json()["reports"]] == ["registered", "unsure"]
    known, unsure = world.taken.findings
    assert (known.severity, unsure.severity) == ("critical", "warning")
    assert unsure.leak is not None
    assert not unsure.leak.verified, "a report of nobody knows whose key is no proof"
    assert "the store is away" in unsure.reason


async def test_the_same_report_has_the_same_identity_and_a_proof_is_another(world: World) -> None:
    for trusted in (False, False, True):
        world.now_ms += 60_000
        await world.post(report(), trusted=trusted)
    await world.post(report(url="https://elsewhere.example/"))
    first, again, proved, elsewhere = (taken.findings[0].finding_id for taken in world.published)
    assert first == again
    assert len({first, proved, elsewhere}) == 3
    assert world.published[0].audit[0].audit_id == world.published[1].audit[0].audit_id


async def test_a_body_is_taken_whole_or_not_at_all(world: World) -> None:
    answer = await world.post([report(), report(url=7), {"key": STRANGE, "found_at": f"{STRANGE} ago", "source": "x"}])
    assert answer.status_code == 400
    assert [(error["index"], error["field"]) for error in answer.json()["errors"]] == [(1, "url"), (2, "found_at")]
    assert STRANGE not in answer.text
    assert world.published == []
    assert world.counted == [("api", "refused", 2)]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
async def test_without_the_token_nothing_is_taken(world: World, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}".encode()}
    transport = httpx.ASGITransport(world.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://leaks") as client:
        answer = await client.post("/v1/leaks", json=report(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert world.published == []
    assert world.counted == [("api", "unauthorised", 1)]


@pytest.mark.parametrize(("failure", "status"), [(BrokerSlow(3), 429), (BrokerDown("x"), 503), (OSError(), 503)])
async def test_nothing_is_said_to_be_taken_before_the_broker_has_it(
    world: World, failure: Exception, status: int
) -> None:
    world.failure = failure
    answer = await world.post(report())
    assert (answer.status_code, "Retry-After" in answer.headers) == (status, True)
    hook = await world.hook([{"token": REGISTERED, "type": "t", "url": "u", "source": "commit"}])
    assert hook.status_code == status
    assert world.counted == [("api", "not_taken", 1), ("github", "not_taken", 1)]


async def test_too_large_a_body_is_refused(world: World) -> None:
    assert (await world.post(report(by="x" * 100_001))).status_code == 413


def test_an_empty_token_is_refused() -> None:
    world = World()
    desk = LeakDesk(fingerprinter(), registered=world.registered, used=world.asked, now_ms=lambda: NOW_MS)
    intake = LeakIntake(desk, world.publish, max_body_bytes=1, counted=lambda *what: None)
    with pytest.raises(ValueError, match="token"):
        create_leaks(intake, token=SecretStr(""), trusted=False, github=None)


MATCHES = [
    {"token": REGISTERED, "type": "acme_key", "url": "https://github.com/a/b", "source": "commit"},
    {"token": STRANGE, "type": "acme_key", "url": "https://github.com/a/c", "source": "content"},
]


async def test_githubs_report_is_proved_by_its_signature_and_answered_with_feedback(world: World) -> None:
    answer = await world.hook(MATCHES)
    assert (answer.status_code, answer.json()) == (
        200,
        [
            {"token_hash": digest(REGISTERED), "token_type": "acme_key", "label": "true_positive"},
            {"token_hash": digest(STRANGE), "token_type": "acme_key", "label": "false_positive"},
        ],
    )
    (finding,) = world.taken.findings
    assert finding.leak is not None
    assert (finding.detector, finding.leak.verified, finding.leak.by) == ("github", True, "github")
    assert (
        finding.reason == "the key was found in github commit at https://github.com/a/b, reported by github (verified)"
    )
    assert world.counted == [("github", "registered", 1), ("github", "unknown", 1)]


async def test_of_what_nobody_can_say_github_hears_nothing(world: World) -> None:
    world.used = None
    assert [one["label"] for one in (await world.hook(MATCHES)).json()] == ["true_positive"]


async def test_what_github_sends_once_is_taken_as_far_as_it_can_be_read(world: World) -> None:
    answer = await world.hook([{"token": 7}, *MATCHES])
    assert len(answer.json()) == 2
    assert ("github", "refused", 1) in world.counted
    assert (await world.hook([{"token": 7}])).status_code == 400
    assert (await world.hook(b"not json")).status_code == 400


@pytest.mark.parametrize(
    "changed",
    [
        {"Github-Public-Key-Signature": ""},
        {"Github-Public-Key-Signature": Signer().sign(orjson.dumps(MATCHES))},
        {"Github-Public-Key-Identifier": "another"},
        {"Github-Public-Key-Identifier": ""},
    ],
)
async def test_what_github_did_not_sign_is_not_read(world: World, changed: dict[str, str]) -> None:
    answer = await world.hook(MATCHES, changed)
    assert (answer.status_code, world.published) == (401, [])
    assert world.counted == [("github", "unauthorised", 1)]


async def test_without_githubs_keys_it_is_told_to_come_again(world: World) -> None:
    world.github.down = True
    answer = await world.hook(MATCHES)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert world.counted == [("github", "not_taken", 1)]
    world.github.down, world.github.now_s = False, 60
    assert (await world.hook(MATCHES)).status_code == 200


async def test_a_packed_body_is_not_what_was_signed(world: World) -> None:
    assert (await world.hook(MATCHES, {"Content-Encoding": "gzip"})).status_code == 415


async def test_githubs_route_is_not_there_unless_it_is_switched_on(world: World) -> None:
    transport = httpx.ASGITransport(world.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://leaks") as client:
        assert (await client.post("/v1/leaks/github", json=MATCHES)).status_code == 404


async def test_nothing_published_holds_the_secret_and_no_plain_hash_of_an_unknown_one(world: World) -> None:
    url = f"https://paste.example/?a={REGISTERED}&b={STRANGE}"
    answer = await world.post([report(url=url), report(key=STRANGE, url=url, by=REGISTERED, type=STRANGE)])
    said = answer.text + repr(world.taken)
    assert fp(STRANGE) in said
    assert not re.search(f"{REGISTERED}|{STRANGE}|{digest(STRANGE)}", said)
