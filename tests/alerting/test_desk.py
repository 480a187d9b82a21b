"""A click counts when the person may say it; who may not is told why, and nothing is sent."""

from __future__ import annotations

import pytest

from alerting.answers.desk import Answer, Desk, Said, is_final
from controls.people import People, Person
from schemas.config import PeopleConfig
from schemas.records import Incident, IncidentStep, Request, StepState
from tests.alerting.world import incident

TEAM = People(
    PeopleConfig.model_validate({"people": {
        "vera": {"role": "viewer", "slack": "U0VERA"}, "rosa": {"role": "responder", "slack": "U0ROSA"},
        "ada": {"role": "approver", "slack": "U0ADA"},
    }})
)  # fmt: skip
VERA, ROSA, ADA = Person("vera", "viewer"), Person("rosa", "responder"), Person("ada", "approver")


class OneIncident:
    def __init__(self, known: Incident) -> None:
        self._known = known

    def get(self, incident_id: str) -> Incident | None:
        return self._known if incident_id == self._known.incident_id else None

    def of_key(self, key_id: str) -> Incident | None:
        return self._known if key_id == self._known.key_id else None

    def open(self) -> list[Incident]:
        return [self._known]

    def complete(self) -> bool:
        return True


def waiting(step: str, *, reversible: bool) -> Incident:
    asked = IncidentStep.model_validate(
        {
            "step": step, "command_id": "cmd_1", "state": StepState.AWAITING_APPROVAL, "automatic": False,
            "reversible": reversible, "at_ms": 1, "by": "keyfuse",
        }
    )  # fmt: skip
    return incident(steps=(asked,))


async def answered(said: Said, known: Incident, people: People = TEAM) -> tuple[Answer, list[Request]]:
    sent: list[Request] = []

    async def send(request: Request) -> None:
        sent.append(request)

    desk = Desk(people=lambda: people, incidents=OneIncident(known), send=send, now_ms=lambda: 1234)
    return await desk.say(said), sent


def click(person: Person | None, action: str, **changes: object) -> Said:
    said = {
        "said_id": "click-1", "via": "slack", "who": "U0X", "person": person, "action": action,
        "incident_id": incident().incident_id,
    }  # fmt: skip
    return Said(**(said | changes))  # type: ignore[arg-type]  # a test's table


async def test_a_word_that_counts_becomes_one_request_with_all_that_was_said() -> None:
    known = incident()
    answer, sent = await answered(click(ROSA, "snooze", until_ms=9000, reason="on it"), known)
    assert answer.taken
    assert sent == [
        Request(
            request_id="click-1", at_ms=1234, by="rosa", action="snooze", key_id=known.key_id,
            incident_id=known.incident_id, via="slack", until_ms=9000, reason="on it", facts=known.facts,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (click(VERA, "acknowledge"), "vera is viewer; acknowledge needs responder"),
        (click(None, "acknowledge"), "U0X is not in people.yaml"),
        (click(None, "acknowledge", who="ada"), "ada is not in people.yaml"),
        (click(ROSA, "contain", step="revoke"), "contain for good needs approver"),
        (click(ROSA, "acknowledge", incident_id="inc_other"), "No incident inc_other"),
    ],
)
async def test_who_may_not_is_told_why_and_nothing_is_sent(said: Said, words: str) -> None:
    answer, sent = await answered(said, incident())
    assert words in answer.words
    assert (answer.taken, sent) == (False, [])


@pytest.mark.parametrize(
    ("known", "step", "final"),
    [
        (waiting("revoke", reversible=False), None, True),
        (waiting("disable", reversible=True), None, False),
        (waiting("disable", reversible=True), "revoke", True),
        (waiting("revoke", reversible=False), "disable", False),
        (incident(), None, False),
    ],
)
def test_what_waits_says_whether_it_is_for_good(known: Incident, step: str | None, final: bool) -> None:
    assert is_final(known, click(ADA, "contain", step=step)) == final


@pytest.mark.parametrize(("step", "sent_on"), [("disable", []), ("throttle", ["throttle"])])
async def test_a_step_of_the_providers_own_that_cannot_be_undone_needs_an_approver(
    step: str, sent_on: list[str]
) -> None:
    sent: list[Request] = []

    async def send(request: Request) -> None:
        sent.append(request)

    desk = Desk(
        people=lambda: TEAM, incidents=OneIncident(incident()), send=send, now_ms=lambda: 1234,
        for_good=lambda _, asked: asked == "disable",
    )  # fmt: skip
    answer = await desk.say(click(ROSA, "contain", step=step))
    assert ([request.step for request in sent], answer.taken) == (sent_on, bool(sent_on))
    assert "for good needs approver" in answer.words or sent_on


async def test_what_is_refused_is_kept_with_its_reason() -> None:
    kept: list[tuple[str, str, str]] = []

    async def keep(request: Request, why: str) -> None:
        kept.append((request.by, request.action, why))

    async def never(_: Request) -> None:
        raise AssertionError("it was passed on")

    desk = Desk(
        people=lambda: TEAM, incidents=OneIncident(incident()), send=never, now_ms=lambda: 1234, refused=keep
    )  # fmt: skip
    await desk.say(click(VERA, "resolve"))
    assert kept == [("vera", "resolve", "vera is viewer; resolve needs responder")]


async def test_a_secret_in_the_reason_goes_no_further() -> None:
    secret = "sk-proj-" + "a1B2" * 30
    _, sent = await answered(click(ROSA, "false_positive", reason=f"it was {secret}"), incident())
    assert secret not in sent[0].model_dump_json()


@pytest.mark.parametrize(
    ("state", "incident_id"),
    [("open", incident().incident_id), ("contained", incident().incident_id), ("resolved", "")],
)
async def test_a_word_about_a_key_belongs_to_its_incident_while_that_is_open(state: str, incident_id: str) -> None:
    sent: list[Request] = []

    async def send(request: Request) -> None:
        sent.append(request)

    known = incident(state=state)
    desk = Desk(people=lambda: TEAM, incidents=OneIncident(known), send=send, now_ms=lambda: 1234)
    word = click(ROSA, "contain", step="disable", incident_id="")
    answer = await desk.say_of_key(word, known.key_id, known.facts)
    assert answer == Answer(True, "Taken: contain, by rosa.")
    assert [(r.key_id, r.incident_id, r.step, r.facts) for r in sent] == [
        (known.key_id, incident_id, "disable", known.facts)
    ]  # fmt: skip
    refused = await desk.say_of_key(word._replace(step="revoke"), known.key_id, known.facts)
    assert "contain for good needs approver" in refused.words
    assert len(sent) == 1
