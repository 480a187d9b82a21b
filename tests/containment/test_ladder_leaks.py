"""What a leak report weighs when nobody is asked: it joins a strong family; alone it acts only where that is set."""

from __future__ import annotations

from typing import Any

import pytest

from containment.ladder import choose
from schemas.config.responses import LadderConfig, ResponsesConfig
from schemas.records import Incident, Leak, Step
from tests.containment.build import T0_MS, facts, incident
from tests.containment.test_ladder import ANTHROPIC, OPENAI, SANDBOX, decide

LEAK = Leak(source="github commit", url="https://g/1", by="github", told_at_ms=T0_MS)


def leaked(*families: str, score: float = 6.0, **changes: Any) -> Incident:
    """A leaked key that also did what these families say, and spends nothing yet."""
    told: dict[str, Any] = {
        "families": (*families, "leak"), "scores": dict.fromkeys(families, score), "usd_per_min": 0.0,
        "expected_usd_per_min": 0.0, "leaks": (LEAK,),
    }  # fmt: skip
    return incident(**(told | changes))


def proved(**changes: Any) -> Incident:
    return leaked(leaks=(LEAK.model_copy(update={"verified": True}),), **changes)


GUESS = LEAK.model_copy(update={"confidence": "low"})
PROVED_GUESS = GUESS.model_copy(update={"verified": True})


@pytest.mark.parametrize(
    ("case", "go", "why"),
    [
        (leaked(), "nothing", "1 of 2 kinds of evidence agree"),
        (leaked("velocity"), "run", "found in github commit at https://g/1"),
        (leaked("origin"), "run", "found in github commit at https://g/1"),
        (leaked("velocity", score=5.4), "nothing", "1 of 2 with the score of 5.5"),
        (leaked("cohort"), "nothing", "1 of 2 kinds of evidence agree"),
        (leaked("velocity", leaks=(GUESS,)), "nothing", "1 of 2 kinds of evidence agree"),
        (leaked("velocity", leaks=(GUESS, LEAK)), "run", "and in 1 more place"),
        (leaked("velocity", leaks=(PROVED_GUESS,)), "run", "(verified)"),
        (leaked("velocity", "origin", leaks=(GUESS,)), "nothing", "$0.00 are at stake"),
    ],
)
def test_a_report_is_one_kind_of_evidence_and_money_is_no_reason_to_wait(case: Incident, go: str, why: str) -> None:
    choice = decide(case)
    assert choice.go == go
    assert why in choice.reason


@pytest.mark.parametrize("needed", [1, 2, 3])
def test_it_counts_as_one_of_those_that_must_agree(needed: int) -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(families_for_cut=needed))
    assert decide(leaked("velocity"), config=config).go == ("run" if needed <= 2 else "nothing")
    assert decide(leaked(), config=config).go == "nothing", "a forged report must cut nothing by itself"


@pytest.mark.parametrize(
    ("case", "certain", "go"),
    [
        (proved(), True, "run"),
        (proved(), False, "nothing"),
        (leaked(), True, "nothing"),  # whoever holds the token may have made it up
        (leaked(leaks=(PROVED_GUESS,)), True, "run"),
        (proved(state="resolved"), True, "nothing"),
        (proved(facts=facts(protected=True)), True, "await_approval"),
    ],
)
def test_a_verified_one_alone_acts_only_where_that_is_set(case: Incident, certain: bool, go: str) -> None:
    ladder = LadderConfig(leak_is_certain=certain)
    assert decide(case, config=ResponsesConfig(mode="auto", ladder=ladder)).go == go


@pytest.mark.parametrize(("mode", "go"), [("observe", "dry_run"), ("approve", "await_approval"), ("auto", "run")])
def test_the_mode_holds_for_leaks_too_and_whoever_decides_reads_of_it(mode: Any, go: str) -> None:
    config = ResponsesConfig(mode=mode, ladder=LadderConfig(leak_is_certain=True))
    choice = decide(proved(), config=config)
    assert (choice.step, choice.go) == ("disable", go)
    assert "the key was found in github commit at https://g/1, reported by github (verified)" in choice.reason
    assert "what it spends is not known" in choice.reason


@pytest.mark.parametrize(
    ("offered", "step", "go"),
    [(SANDBOX, "disable", "run"), (ANTHROPIC, "disable", "run"), (OPENAI, "revoke", "await_approval")],
)
def test_what_cannot_be_undone_is_for_people_however_sure_the_leak(
    offered: dict[Step, bool], step: Step, go: str
) -> None:
    config = ResponsesConfig(mode="auto", ladder=LadderConfig(leak_is_certain=True))
    choice = choose(proved(), certain=False, config=config, offered=offered, at_ms=T0_MS)
    assert (choice.step, choice.go) == (step, go)
