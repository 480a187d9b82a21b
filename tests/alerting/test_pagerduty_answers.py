"""What comes back from PagerDuty counts when its signature fits, a person did it, and that person may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from alerting.answers.desk import Desk, Said
from alerting.answers.errors import Unavailable
from alerting.answers.pagerduty import PagerDutyWebhook, Reply, said_in, signer
from alerting.answers.pagerduty import _Body as Body
from controls.people import People
from schemas.config import PeopleConfig
from schemas.records import PeoplesAction, Request
from tests.alerting.pagerduty_service import INTEGRATION, SECRET, call, sign, user
from tests.alerting.test_desk import OneIncident
from tests.alerting.world import T0_MS, incident

BODY = call("incident.acknowledged", T0_MS, agent=user("PROSA1"))
SECRETS = {"oncall": SecretStr(SECRET), "night": SecretStr("older newer")}
TEAM = People(
    PeopleConfig.model_validate({"people": {
        "rosa": {"role": "responder", "pagerduty": "PROSA1"}, "vera": {"role": "viewer", "pagerduty": "PVERA1"},
        "PNOBODY1": {"role": "admin"},
    }})
)  # fmt: skip
NOBODY = People(PeopleConfig())


def a_sign(body: bytes = BODY, secret: str = SECRET) -> str:
    return sign(body, secret)


@pytest.mark.parametrize(
    ("header", "body", "who"),
    [
        (a_sign(), BODY, "oncall"),
        (a_sign(secret="newer"), BODY, "night"),
        (a_sign(secret="older"), BODY, "night"),
        (sign(BODY, "not-ours-yet", SECRET), BODY, "oncall"),
        (f"v1={'0' * 64}, {a_sign()}", BODY, "oncall"),
        (a_sign(), BODY + b" ", None),
        (a_sign(), BODY.replace(b"PROSA1", b"PVERA1"), None),
        (a_sign(secret="older newer"), BODY, None),
        (a_sign(secret="gone"), BODY, None),
        (a_sign().replace("v1=", "v2="), BODY, None),
        (a_sign().removeprefix("v1="), BODY, None),
        (a_sign()[:-1], BODY, None),
        ("v1=not-hex-at-all", BODY, None),
        ("v1=\u00e9\u00ff", BODY, None),
        ("v1=", BODY, None),
        (",,,", BODY, None),
        ("", BODY, None),
        ("v1=0," * 1000 + a_sign(), BODY, None),
    ],
)
def test_a_signature_fits_one_secret_and_one_body(header: str, body: bytes, who: str | None) -> None:
    assert signer(body, header, SECRETS) == who


def event(event_type: str = "incident.acknowledged", **changes: Any) -> Any:
    return Body.model_validate_json(call(event_type, T0_MS, **({"agent": user("PROSA1", "Rosa L.")} | changes))).event


@pytest.mark.parametrize(
    ("event_type", "action"), [("incident.acknowledged", "acknowledge"), ("incident.resolved", "resolve")]
)
def test_what_a_person_did_there_is_what_they_say_here(event_type: str, action: PeoplesAction) -> None:
    said = said_in(event(event_type), TEAM)
    assert said == Said(
        "pagerduty:01EVENT", "pagerduty", "Rosa L. (PROSA1)", TEAM.of_pagerduty("PROSA1"), action, "inc_1"
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"title": "CRITICAL: [inc_of_another] spoke [inc_2]"}, "inc_2"),
        ({"title": "Renamed", "incident_key": "inc_3"}, "inc_3"),
        ({"title": "by hand [manual:0a1b2c]"}, "manual:0a1b2c"),
        ({"title": "CRITICAL [inc_2]", "incident_key": "d3640fbd41094207a1c11e58e46b1662"}, "inc_2"),
    ],
)
def test_the_incident_is_named_by_its_key_or_at_the_end_of_its_title(changes: dict[str, Any], found: str) -> None:
    said = said_in(event(**changes), TEAM)
    assert isinstance(said, Said)
    assert said.incident_id == found


@pytest.mark.parametrize(
    ("ignored", "why"),
    [
        (event(agent=None), "no person did it"),
        (event(agent=INTEGRATION), "no person did it"),
        (event(agent={"id": "PF9KMXH", "type": "service_reference"}), "no person did it"),
        (event("incident.resolved", agent=INTEGRATION), "no person did it"),
        (event("incident.resolved", resolve_reason={"type": "merge_resolve_reason"}), "merged"),
        (event(title="Disk full"), "no incident of Keyfuse"),
        (event(title=None), "no incident of Keyfuse"),
        (event(title="[inc_1] and more"), "no incident of Keyfuse"),
        *(
            (event(f"incident.{kind}"), f"incident.{kind} changes nothing")
            for kind in (
                "triggered", "unacknowledged", "reopened", "reassigned", "escalated", "delegated", "annotated",
                "priority_updated", "responder.added", "status_update_published", "invented_tomorrow",
            )
        ),
    ],
)  # fmt: skip
def test_what_no_person_did_to_our_incident_changes_nothing(ignored: Any, why: str) -> None:
    said = said_in(ignored, TEAM)
    assert isinstance(said, str)
    assert why in said


class Bench:
    """A webhook before a desk that knows one incident."""

    def __init__(self, people: People = TEAM, now_ms: int = T0_MS, remember: int = 100) -> None:
        self.sent: list[Request] = []
        self.away = ""
        self.now_ms = now_ms

        async def send(request: Request) -> None:
            if self.away:
                raise Unavailable(self.away)
            self.sent.append(request)

        known = OneIncident(incident())
        desk = Desk(people=lambda: people, incidents=known, send=send, now_ms=lambda: self.now_ms)
        self.webhook = PagerDutyWebhook(SECRETS, desk, now_ms=lambda: self.now_ms, remember=remember)

    async def call(self, body: bytes, signature: str | None = None) -> Reply:
        return await self.webhook.take(body, sign(body) if signature is None else signature)


def by(user_id: str, event_type: str = "incident.acknowledged", **changes: Any) -> bytes:
    return call(event_type, T0_MS, **({"agent": user(user_id)} | changes))


async def test_an_acknowledgement_becomes_one_request_by_the_person() -> None:
    bench = Bench()
    assert (await bench.call(by("PROSA1")))[:2] == (202, "taken")
    [request] = bench.sent
    assert (request.by, request.action, request.via, request.request_id, request.incident_id) == (
        "rosa", "acknowledge", "pagerduty", "pagerduty:01EVENT", "inc_1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (by("PVERA1"), "vera is viewer; acknowledge needs responder"),
        (by("PSTRANGE"), "Somebody (PSTRANGE) is not in people.yaml"),
        (by("PNOBODY1"), "(PNOBODY1) is not in people.yaml"),
        (by("PROSA1", agent=user("PSTRANGE", "rosa")), "rosa (PSTRANGE) is not in people.yaml"),
        (by("PROSA1", agent=user("PNOBODY1", "")), "is not in people.yaml"),
    ],
)
async def test_who_may_not_is_refused_and_pagerduty_is_told_that_it_arrived(body: bytes, words: str) -> None:
    bench = Bench()
    reply = await bench.call(body)
    assert (reply.status, reply.result, bench.sent) == (202, "refused", [])
    assert words in reply.words


async def test_while_people_yaml_names_nobody_who_is_on_call_may_acknowledge_and_no_more() -> None:
    bench = Bench(NOBODY)
    assert (await bench.call(by("PANY1"))).result == "taken"
    assert (await bench.call(by("PANY1", "incident.resolved", event_id="01OTHER"))).result == "refused"
    assert [(each.by, each.action) for each in bench.sent] == [("Somebody (PANY1)", "acknowledge")]


async def test_the_same_event_is_taken_once() -> None:
    bench = Bench()
    results = [(await bench.call(by("PROSA1"))).result for _ in range(2)]
    assert (results, len(bench.sent)) == (["taken", "repeat"], 1)


@pytest.mark.parametrize(
    ("age_s", "result"), [(-301, "stale"), (-299, "taken"), (0, "taken"), (3599, "taken"), (3601, "stale")]
)
async def test_what_is_not_of_lately_is_not_taken(age_s: int, result: str) -> None:
    bench = Bench(now_ms=T0_MS + age_s * 1000)
    reply = await bench.call(by("PROSA1"))
    assert (reply.result, reply.status) == (result, 202)
    assert len(bench.sent) == (result == "taken")


@pytest.mark.parametrize(("age_s", "expected"), [(59, (503, "unavailable")), (61, (202, "refused"))])
async def test_an_incident_that_nobody_knows_yet_is_asked_for_once_more(age_s: int, expected: tuple[int, str]) -> None:
    bench = Bench(now_ms=T0_MS + age_s * 1000)
    reply = await bench.call(by("PROSA1", title="gone [inc_gone]"))
    assert (reply[:2], bench.sent) == (expected, [])
    assert "No incident inc_gone is known here" in reply.words


async def test_what_could_not_be_passed_on_may_be_sent_again() -> None:
    bench = Bench()
    bench.away = "the broker does not answer"
    assert (await bench.call(by("PROSA1")))[:2] == (503, "unavailable")
    bench.away = ""
    assert (await bench.call(by("PROSA1"))).result == "taken"


@pytest.mark.parametrize(
    ("body", "status", "result"),
    [
        (b'{"event":{"id":"1","event_type":"pagey.ping","resource_type":"pagey","occurred_at":"2020-04-07T03:00:55.532Z",'
         b'"agent":{"id":"P1","type":"user_reference"},"client":null,"data":{"message":"Hello","type":"ping"}}}', 200,
         "ignored"),
        (b"", 202, "not_understood"),
        (b"[]", 202, "not_understood"),
        (b'{"messages": []}', 202, "not_understood"),
        (b"\xff\xfe", 202, "not_understood"),
        (by("PROSA1").replace(b'"occurred_at"', b'"when"'), 202, "not_understood"),
        (by("PROSA1").replace(b".000Z", b""), 202, "not_understood"),  # of which timezone?
        (b"[" * 100_000, 202, "not_understood"),
    ],
)  # fmt: skip
async def test_whatever_is_signed_is_answered_with_2xx(body: bytes, status: int, result: str) -> None:
    bench = Bench()
    assert (await bench.call(body))[:2] == (status, result)
    assert bench.sent == []


async def test_what_is_not_signed_is_answered_401_and_not_read() -> None:
    bench = Bench()
    assert (await bench.call(by("PROSA1"), "v1=0"))[:2] == (401, "unsigned")
    assert (await bench.call(b"not json", ""))[:2] == (401, "unsigned")
    assert bench.sent == []


async def test_no_secret_is_told_or_logged() -> None:
    """Neither ours nor one that somebody has put into a name or a title."""
    pasted, bench = "sk-proj-" + "a1B2" * 30, Bench(NOBODY)
    body = by("PROSA1", agent=user("PROSA1", pasted), title=f"{pasted} [inc_1]")
    with capture_logs() as logs:
        replies = [await bench.call(body, given) for given in (None, "v1=0", sign(body, "older"))]
    seen = json.dumps([*logs, *replies, *(each.model_dump() for each in bench.sent)], default=str)
    assert [each.by for each in bench.sent] == ["sk-proj-…[redacted] (PROSA1)"]
    assert [secret for secret in (pasted, SECRET, "older", "newer") if secret in seen] == []
    assert len(logs) == 2
    assert SECRET not in repr(vars(bench.webhook))


async def test_what_is_remembered_is_bounded() -> None:
    bench = Bench(remember=3)
    for number in range(5):
        await bench.call(by("PROSA1", event_id=f"01E{number}"))
    again = [(await bench.call(by("PROSA1", event_id=f"01E{number}"))).result for number in (4, 3, 2, 0)]
    assert again == ["repeat", "repeat", "repeat", "taken"]
