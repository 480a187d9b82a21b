from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from containment.ladder import Choice, approvals_needed, approved, choose, loss_words
from schemas.config.responses import LadderConfig, ResponsesConfig
from schemas.records import Incident, IncidentStep, Step, StepState
from tests.containment.build import T0_MS, command, done, facts, incident

SANDBOX: Mapping[Step, bool] = {"throttle": True, "disable": True, "revoke": False}
ANTHROPIC: Mapping[Step, bool] = {"disable": True, "revoke": False}
OPENAI: Mapping[Step, bool] = {"revoke": False}
LITELLM: Mapping[Step, bool] = {"block": True}
AUTO = ResponsesConfig(mode="auto")
MINUTE_MS = 60_000


def decide(
    case: Incident,
    *,
    config: ResponsesConfig = AUTO,
    offered: Mapping[Step, bool] = SANDBOX,
    certain: bool = False,
    at_ms: int = T0_MS,
) -> Choice:
    return choose(case, certain=certain, config=config, offered=offered, at_ms=at_ms)


@pytest.mark.parametrize(
    ("families", "certain", "needed", "go"),
    [
        (("velocity",), False, 2, "nothing"),
        (("velocity", "origin"), False, 2, "run"),
        (("velocity", "cohort"), False, 2, "nothing"),
        (("velocity", "repetition"), False, 2, "nothing"),  # a job whose requests are all alike
        (("origin", "repetition"), False, 2, "run"),
        (("velocity", "drift", "rhythm"), False, 2, "nothing"),  # one kind of evidence, seen three times
        (("mix", "economics"), False, 2, "nothing"),
        (("velocity", "economics"), False, 2, "nothing"),  # longer prompts are more tokens and dearer requests
        (("mix", "velocity"), False, 2, "run"),
        (("cohort",), False, 2, "nothing"),
        (("cohort",), False, 1, "nothing"),  # the crowd proves nothing about this key
        (("velocity",), False, 1, "run"),
        (("velocity", "origin"), False, 3, "nothing"),
        (("budget",), True, 2, "run"),
        (("policy",), True, 3, "run"),
        (("cohort",), True, 2, "run"),
    ],
)
def test_an_automatic_cut_needs_two_kinds_of_evidence_or_a_certain_limit(
    families: tuple[str, ...], certain: bool, needed: int, go: str
) -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(families_for_cut=needed))
    assert decide(incident(families=families), certain=certain, config=config).go == go


@pytest.mark.parametrize(
    ("velocity", "origin", "wanted", "go"),
    [(5.5, 5.5, 5.5, "run"), (9.0, 5.4, 5.5, "nothing"), (5.4, 9.0, 5.5, "nothing"), (4.2, 4.1, 4.0, "run")],
)
def test_each_kind_must_be_surer_for_a_cut_than_for_an_alert(
    velocity: float, origin: float, wanted: float, go: str
) -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(cut_score=wanted))
    case = incident(scores={"velocity": velocity, "origin": origin})
    choice = decide(case, config=config)
    assert choice.go == go
    assert ("1 of 2 with the score of 5.5 a cut needs" in choice.reason) is (go == "nothing")
    assert decide(case, config=config, certain=True).go == "run"


@pytest.mark.parametrize(
    ("usd_per_min", "minutes", "wrong_cut_usd", "go"),
    [
        (0.7, 30, 10, "nothing"),  # 0.3 above normal: 9 dollars until a person answers
        (0.8, 30, 10, "run"),
        (0.7, 60, 10, "run"),  # people answer more slowly
        (0.7, 30, 5, "run"),  # a wrong cut costs less
        (0.4, 30, 0, "run"),  # nothing is lost by a cut
        (0.1, 30, 10, "nothing"),  # spends less than normal
    ],
)
def test_what_a_person_can_still_stop_is_left_to_a_person(
    usd_per_min: float, minutes: float, wrong_cut_usd: float, go: str
) -> None:
    ladder = LadderConfig(person_answers_min=minutes, wrong_cut_usd=wrong_cut_usd)
    case = incident(usd_per_min=usd_per_min, expected_usd_per_min=0.4)
    choice = decide(case, config=ResponsesConfig(mode="auto", ladder=ladder))
    assert choice.go == go
    assert ("alert only" in choice.reason) is (go == "nothing")
    assert decide(case, config=ResponsesConfig(mode="auto", ladder=ladder), certain=True).go == "run"


@pytest.mark.parametrize(
    ("mode", "go", "automatic"),
    [("observe", "dry_run", True), ("approve", "await_approval", False), ("auto", "run", True)],
)
def test_the_mode_says_who_decides(mode: Any, go: str, automatic: bool) -> None:
    choice = decide(incident(), config=ResponsesConfig(mode=mode))
    assert (choice.step, choice.mode, choice.go, choice.automatic) == ("disable", mode, go, automatic)


def test_the_mode_of_the_key_is_stronger_than_that_of_its_environment() -> None:
    config = ResponsesConfig(mode="observe", modes={"dev": "auto"}, key_modes={"k2": "approve"})
    assert [decide(incident(key_id=key), config=config).go for key in ("k1", "k2")] == ["run", "await_approval"]


@pytest.mark.parametrize("protection", ["registry", "responses"])
def test_a_protected_key_is_never_touched_without_a_person(protection: str) -> None:
    case = incident(facts=facts(protected=protection == "registry"))
    config = ResponsesConfig(mode="auto", protected_keys=("k1",) if protection == "responses" else ())
    for certain in (False, True):
        choice = decide(case, config=config, certain=certain)
        assert (choice.go, choice.automatic) == ("await_approval", False)
        assert "protected" in choice.reason


@pytest.mark.parametrize(
    ("offered", "first_step", "step", "go"),
    [
        (SANDBOX, "disable", "disable", "run"),
        (SANDBOX, "throttle", "throttle", "run"),
        (SANDBOX, "block", "disable", "run"),
        (ANTHROPIC, "throttle", "disable", "run"),
        (LITELLM, "throttle", "block", "run"),
        (LITELLM, "disable", "block", "run"),  # nothing that hard can be undone here: the hardest that can
        ({"throttle": True, "revoke": False}, "disable", "throttle", "run"),  # undoable before final
        (OPENAI, "disable", "revoke", "await_approval"),
        ({}, "disable", None, "nothing"),
    ],
)
def test_the_softest_step_that_can_be_undone_comes_first(
    offered: Mapping[Step, bool], first_step: Any, step: Step | None, go: str
) -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(first_step=first_step))
    choice = decide(incident(), config=config, offered=offered)
    assert (choice.step, choice.go) == (step, go)


@pytest.mark.parametrize("mode", ["approve", "auto"])
def test_a_step_that_cannot_be_undone_always_waits_for_a_person_and_says_so(mode: Any) -> None:
    choice = decide(incident(), config=ResponsesConfig(mode=mode), offered=OPENAI, certain=True)
    assert (choice.step, choice.go, choice.automatic, choice.reversible) == ("revoke", "await_approval", False, False)
    assert "cannot be undone" in choice.reason


def at(step: Step, state: StepState) -> IncidentStep:
    return done(step, state)


@pytest.mark.parametrize(
    ("steps", "minutes", "step", "go"),
    [
        # ordered and not over: not ordered again
        ([at("disable", StepState.REQUESTED)], 60, None, "nothing"),
        ([at("disable", StepState.IN_FLIGHT)], 60, None, "nothing"),
        ([at("disable", StepState.AWAITING_APPROVAL)], 60, None, "nothing"),
        # confirmed: wait, then the next rung
        ([at("disable", StepState.CONFIRMED)], 1, None, "nothing"),
        ([at("disable", StepState.CONFIRMED)], 2, "revoke", "await_approval"),
        ([at("disable", StepState.CONFIRMED), at("revoke", StepState.CONFIRMED)], 60, None, "nothing"),
        ([at("disable", StepState.CONFIRMED), at("revoke", StepState.AWAITING_APPROVAL)], 60, None, "nothing"),
        # taken back: may be ordered again
        ([at("disable", StepState.SUPERSEDED)], 0, "disable", "run"),
        # failed or refused: again, after the cool-down or the escalation time
        ([at("disable", StepState.IRREVOCABLE)], 4, None, "nothing"),
        ([at("disable", StepState.IRREVOCABLE)], 5, "disable", "run"),
        ([at("disable", StepState.REFUSED)], 1, None, "nothing"),
        ([at("disable", StepState.REFUSED)], 2, "disable", "run"),
        # a dry run was none
        ([at("disable", StepState.DRY_RUN)], 0, "disable", "run"),
        # a person went further already: nothing softer is added
        ([at("revoke", StepState.IN_FLIGHT)], 60, None, "nothing"),
        ([at("revoke", StepState.CONFIRMED)], 60, None, "nothing"),
        # a person took the cut back: a person decides about the next
        ([at("disable", StepState.SUPERSEDED), at("restore", StepState.CONFIRMED)], 60, "disable", "await_approval"),
    ],
)
def test_what_was_ordered_before_decides_what_comes_next(
    steps: list[IncidentStep], minutes: int, step: Step | None, go: str
) -> None:
    now_ms = T0_MS + minutes * MINUTE_MS
    choice = decide(incident(*steps, last_finding_at_ms=now_ms), at_ms=now_ms)
    assert (choice.step, choice.go) == (step, go)


def test_a_throttled_key_that_goes_on_spending_is_disabled() -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(first_step="throttle", escalate_after_s=30))
    case = incident(done("throttle", StepState.CONFIRMED), last_finding_at_ms=T0_MS + 30_000)
    choice = decide(case, config=config, at_ms=T0_MS + 30_000)
    assert (choice.step, choice.go) == ("disable", "run")
    assert "still spending 30 s after throttle" in choice.reason


def test_a_cut_that_ended_the_spending_is_not_followed_by_another() -> None:
    later_ms = T0_MS + 60 * MINUTE_MS
    quiet = incident(done("disable", StepState.CONFIRMED), last_finding_at_ms=T0_MS + 5_000)
    assert decide(quiet, at_ms=later_ms).go == "nothing"
    normal = incident(done("disable", StepState.CONFIRMED), last_finding_at_ms=later_ms, usd_per_min=0.2)
    assert decide(normal, at_ms=later_ms).go == "nothing"


def test_a_dry_run_is_said_once() -> None:
    case = incident(done("disable", StepState.DRY_RUN))
    assert decide(case, config=ResponsesConfig(mode="observe"), at_ms=T0_MS + 60 * MINUTE_MS).go == "nothing"


@pytest.mark.parametrize("state", ["resolved", "false_positive"])
def test_a_closed_incident_asks_for_nothing(state: str) -> None:
    assert decide(incident(state=state), certain=True).go == "nothing"


def test_a_choice_of_nothing_names_no_step_and_gives_a_reason() -> None:
    choice = decide(incident(families=("velocity",)))
    assert (choice.step, choice.automatic, choice.reversible) == (None, False, False)
    assert choice.reason == "1 of 2 kinds of evidence agree and no certain limit is broken: alert only"


@pytest.mark.parametrize(
    ("money", "ending"),
    [
        ({}, "$4.00 of $100.00 acceptable loss is gone, the rest in 8.0 min"),
        ({"lost_usd": 130.0}, "$130.00 of $100.00 acceptable loss is gone: the limit is passed"),
        ({"usd_per_min": 0.4}, "$4.00 of $100.00 acceptable loss is gone"),
    ],
)
def test_the_reason_says_what_it_costs(money: dict[str, float], ending: str) -> None:
    assert loss_words(incident(**money)).endswith(ending)


@pytest.mark.parametrize(
    ("step", "env", "automatic", "by", "approvals", "needed", "enough"),
    [
        ("disable", "prod", True, "keyfuse", (), 0, True),
        ("disable", "prod", False, "keyfuse", (), 1, False),
        ("disable", "prod", False, "keyfuse", ("ann",), 1, True),
        ("disable", "prod", False, "ann", (), 1, True),
        ("restore", "prod", False, "ann", (), 0, True),
        ("restore", "prod", False, "keyfuse", (), 0, True),  # undoing a cut that came too late
        ("revoke", "dev", False, "keyfuse", (), 1, False),
        ("revoke", "dev", False, "keyfuse", ("ann",), 1, True),
        ("revoke", "prod", False, "keyfuse", ("ann",), 2, False),
        ("revoke", "prod", False, "keyfuse", ("ann", "ann"), 2, False),
        ("revoke", "prod", False, "keyfuse", ("ann", "ann "), 2, False),
        ("revoke", "prod", False, "keyfuse", ("ann", "keyfuse"), 2, False),
        ("revoke", "prod", False, "keyfuse", ("ann", ""), 2, False),
        ("revoke", "prod", False, "keyfuse", ("ann", "bob"), 2, True),
        ("revoke", "Production", False, "ann", ("bob",), 2, True),
        ("revoke", "production", False, "ann", ("ann",), 2, False),
        ("revoke", "prod", True, "keyfuse", (), 2, False),  # whatever the command claims
    ],
)
def test_irreversible_steps_need_people_and_in_production_two(
    step: Step, env: str, automatic: bool, by: str, approvals: tuple[str, ...], needed: int, enough: bool
) -> None:
    order = command(step=step, automatic=automatic, by=by, facts=facts(env=env))
    assert approvals_needed(order) == needed
    assert approved(order, approvals) is enough
    assert approved(order.model_copy(update={"approvals": approvals})) is enough
