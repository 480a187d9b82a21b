"""What the identity stage orders: within its rights, without an incident, and never over an incident's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from containment.orders import sign
from controls.people import People
from schemas.config import BudgetsConfig, PeopleConfig, ResponsesConfig
from schemas.records import KeyFacts, Mode, Outcome, Request, Step, StepState
from streams.decide_core import UNCONFIGURED, Decider, offers
from streams.key_outcomes import cut_of
from tests.streams.test_contain import World
from tests.streams.world import FACTS, KEY, SIGNER, STEPS, T0, finding, outcome, request, specs

PEOPLE = People(PeopleConfig.model_validate({"people": {"ana": {"role": "responder"}, "vera": {"role": "viewer"}}}))

NONE = "memory offers no such step for this key: name one that it has"


def decider(mode: Mode = "auto", steps: dict[Step, bool] | None = None, **scopes: Any) -> Decider:
    offered = specs(STEPS if steps is None else steps, **scopes)
    return Decider(ResponsesConfig(mode=mode), BudgetsConfig(), lambda key_id, facts: offered, PEOPLE)


def asks(action: str = "contain", *, by: str = "vera", at_s: int = 60, **changes: Any) -> Request:
    own = {"via": "identity", "alone": True, "reason": "replaced by k2"} | changes
    return request(action, at_s, by=by).model_copy(update=own)


def test_an_old_key_is_cut_without_an_incident_and_in_the_name_of_who_rotated_it() -> None:
    decision = decider("observe").request(None, asks())
    (command,) = decision.commands
    assert decision.incidents == ()
    assert (command.step, command.by, command.approvals) == ("disable", "vera", ("vera",))
    assert (command.automatic, command.mode, command.alone) == (False, "auto", True)
    assert decision.audit[0].result == "taken"
    assert decider().request(decision.case, asks()).commands == ()  # heard once


@pytest.mark.parametrize(("mode", "state"), [("observe", "observe"), ("auto", "auto")])
def test_what_nobody_asked_for_keeps_to_modes_and_caps(mode: Mode, state: str) -> None:
    (command,) = decider(mode).request(None, asks(by="keyfuse", step="throttle")).commands
    assert (command.step, command.automatic, command.mode, command.approvals) == ("throttle", True, state, ())


@pytest.mark.parametrize(
    ("steps", "scopes", "changes", "why"),
    [
        ({"revoke": False}, {}, {}, NONE),
        ({"disable": False}, {}, {}, NONE),
        ({"disable": True}, {"disable": "project"}, {}, NONE),
        ({"throttle": True}, {}, {}, NONE),
        ({"revoke": False}, {}, {"step": "revoke"}, "contain for good needs a person's own word"),
        (None, {}, {"action": "resolve"}, "resolve needs a person's own word"),
        (None, {}, {"action": "freeze"}, "freeze needs a person's own word"),
    ],
)  # fmt: skip
def test_it_orders_nothing_that_cannot_be_undone_or_reaches_further(
    steps: dict[Step, bool] | None, scopes: dict[str, Any], changes: dict[str, Any], why: str
) -> None:
    decision = decider("auto", steps, **scopes).request(None, asks(**changes))
    assert (decision.commands, decision.passed_on) == ((), None)
    assert decision.audit[0].detail["why"] == why


def test_a_provider_that_is_not_configured_calls_nobody_at_night() -> None:
    rules = Decider(ResponsesConfig(mode="auto"), BudgetsConfig(), offers({}), PEOPLE)
    decision = rules.request(None, asks(facts=KeyFacts(provider="elsewhere")))
    assert decision.commands == ()
    assert decision.audit[0].detail["why"] == (
        "nothing can be done to a key of elsewhere from here: a person does it there"
    )  # fmt: skip
    assert rules.request(None, request("contain", by="ana")).commands[0].step == next(iter(UNCONFIGURED))


def test_a_cut_that_fails_calls_a_person_and_one_that_works_says_nothing() -> None:
    rules = decider()
    decision = rules.request(None, asks())
    (command,) = decision.commands
    assert rules.outcome(decision.case, outcome(command), at_ms=T0).incidents == ()
    failed = rules.outcome(decision.case, outcome(command, StepState.IRREVOCABLE), at_ms=T0)
    assert [each.severity for each in failed.incidents] == ["critical"]


def test_while_an_incident_is_open_the_step_is_shown_in_it() -> None:
    rules = decider("observe")
    case = rules.finding(None, finding()).case
    decision = rules.request(case, asks())
    assert [command.incident_id for command in decision.commands] == [decision.incidents[0].incident_id]


def test_what_the_identity_stage_did_is_undone_and_what_an_incident_did_is_not() -> None:
    rules = decider()
    (command,) = rules.request(None, asks("restore")).commands
    assert (command.step, command.by, command.automatic, command.incident_id[:7]) == (
        "restore",
        "vera",
        False,
        "manual:",
    )
    opened = rules.finding(None, finding())
    refused = rules.request(opened.case, asks("restore"))
    assert refused.commands == ()
    assert refused.audit[0].result == "no_effect"
    assert "holds the key: it is restored there" in refused.audit[0].detail["why"]
    cut = rules.request(opened.case, request("contain", by="ana"))
    held = rules.outcome(cut.case, outcome(cut.commands[-1]), at_ms=T0 + 70_000)
    closed = rules.request(held.case, request("resolve", 80, by="ana"))
    assert closed.case is not None
    assert rules.request(closed.case, asks("restore", at_s=90)).commands == ()


async def test_silence_throttles_then_disables_at_the_provider_and_one_answer_undoes_both(tmp_path: Path) -> None:
    world, rules = World(tmp_path / "FREEZE"), decider()
    stands = [("active", "yes"), ("disable", "yes"), ("active", "no")]
    words = [asks(by="keyfuse", step="throttle"), asks(by="keyfuse", at_s=61, step="disable"), asks("restore", at_s=62)]
    for word, (status, throttled) in zip(words, stands, strict=True):
        [command] = rules.request(None, word).commands
        [ended] = await world.run(command)
        assert ended.state is StepState.CONFIRMED
        assert await world.provider.snapshot(KEY) == {"status": status, "throttled": throttled}


async def test_silence_is_held_up_by_a_freeze_and_by_protection(tmp_path: Path) -> None:
    world, rules = World(tmp_path / "FREEZE"), decider()
    protected = FACTS.model_copy(update={"protected": True})
    [command] = rules.request(None, asks(by="keyfuse", step="disable", facts=protected)).commands
    [ended] = await world.run(command)
    assert (ended.state, ended.rule) == (StepState.REFUSED, "protected")
    world.freeze_file.touch()
    [command] = rules.request(None, asks(by="keyfuse", at_s=70, step="disable")).commands
    [ended] = await world.run(command)
    assert (ended.state, ended.rule) == (StepState.REFUSED, "freeze_file")
    [command] = rules.request(None, asks(at_s=80)).commands  # the end of a rotation is a person's word
    [ended] = await world.run(command)
    assert ended.state is StepState.CONFIRMED


def test_a_restore_of_an_unknown_key_is_refused_in_words() -> None:
    decision = decider().request(None, asks("restore", facts=None))
    assert decision.audit[0].detail["why"] == "an unknown key: name its provider"


def test_an_order_without_the_new_field_is_the_same_to_the_byte_for_who_checks_signatures() -> None:
    (command,) = decider().request(None, request("contain", by="ana")).commands
    assert b"alone" not in sign(command, SIGNER, now_ms=T0).to_bytes()
    (alone,) = decider().request(None, asks()).commands
    assert b'"alone":true' in sign(alone, SIGNER, now_ms=T0).to_bytes()


@pytest.mark.parametrize(
    ("step", "state", "passes"),
    [
        ("disable", StepState.CONFIRMED, True), ("block", StepState.IRREVOCABLE, True),
        ("revoke", StepState.REFUSED, True), ("disable", StepState.DRY_RUN, True),
        ("disable", StepState.IN_FLIGHT, False), ("throttle", StepState.CONFIRMED, False),
        ("restore", StepState.CONFIRMED, False),
    ],
)  # fmt: skip
def test_ends_of_cuts_are_told_to_the_identity_stage(step: Step, state: StepState, passes: bool) -> None:
    told = Outcome(command_id="c", incident_id="i", key_id=KEY, step=step, state=state, at_ms=T0)
    assert cut_of(told.to_bytes()) == (told if passes else None)
    assert cut_of(FACTS.to_bytes()) is None
