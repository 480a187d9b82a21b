"""Why a family spoke or did not: the account agrees with what the core really said."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.account import Accountant, FamilyAccount, KeyAccount
from detectors.core import ScoreCore
from detectors.ensemble import BY_FAMILY
from detectors.examples import NOW_S
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding, Mark
from tests.detectors.traffic import DAY_S, healthy, play, theft

HISTORY = healthy(3, keys=4, days=1, busy=0.6)
THEFT_S = NOW_S + DAY_S
THEFT = theft(2, THEFT_S, seconds=90)
NO_LIMITS = {"usd_per_min": None, "usd_per_hour": None, "requests_per_s": None}


def look(
    key_id: str = "k02", at_s: int = THEFT_S + 30, *, settings: dict[str, Any] | None = None,
    events: list[dict[str, Any]] | None = None, within_s: int = 60, marks: list[Mark] | None = None,
) -> tuple[KeyAccount | None, list[Finding]]:  # fmt: skip
    core = ScoreCore(DetectorsConfig.model_validate(settings or {}), partition=0)
    core.allow(marks or [])
    accountant = Accountant(core, key_id, from_s=at_s - within_s, until_s=at_s + within_s)
    told = play(core, HISTORY + THEFT if events is None else events)
    return accountant.account(), [finding for finding in told if finding.key_id == key_id]


def family_of(account: KeyAccount | None, name: str) -> FamilyAccount:
    assert account is not None
    return next(family for family in account.families if family.family == name)


def test_every_family_gives_an_account_and_the_strongest_comes_first() -> None:
    account, told = look()

    assert account is not None
    assert {family.family for family in account.families} == set(BY_FAMILY)
    assert [family.margin for family in account.families] == sorted((f.margin for f in account.families), reverse=True)
    assert account.families[0].fired
    assert list(account.findings) == [finding for finding in told if finding.at_ms < (THEFT_S + 91) * 1000]


def test_what_fired_is_what_the_core_said_with_its_score_and_words() -> None:
    account, told = look()

    assert account is not None
    assert {f.family for f in account.families if f.fired} == {f.family for f in told} >= {"velocity", "origin"}
    for family in account.families:
        assert family.fired == (family.why.split(";")[0] == "fired")
    velocity = family_of(account, "velocity")
    same = [f for f in told if f.family == "velocity" and f.at_ms == velocity.at_s * 1000]
    assert same[0].score == pytest.approx(velocity.score, rel=1e-3)
    assert same[0].reason.startswith(velocity.said)
    assert velocity.score >= velocity.threshold == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize(
    ("family", "settings", "why"),
    [
        ("origin", {"origin": {"enabled": False}}, "switched off"),
        ("velocity", {"velocity": {"alarm_per_key_week": 1e-12}}, "below its threshold"),
        ("velocity", {"velocity": {"min_usd_per_min": 900.0}}, "too little money: less than 900 USD/min"),
        ("mix", {"mix": {"min_requests": 100_000}}, "warming up"),
        ("policy", {"limits": {**NO_LIMITS, "usd_per_min": 1000}}, "below its threshold"),
        ("policy", {"limits": NO_LIMITS}, "no limit is set for this key"),
        ("drift", {}, "warming up: 1 of 2 active days"),
        ("rhythm", {}, "warming up: 1 of 2 active days"),
        ("budget", {}, "no budget is set for this key"),
        ("budget", {"budget": {"usd_per_month": 9000}}, "below its threshold"),
    ],
)  # fmt: skip
def test_what_kept_a_family_quiet_is_named(family: str, settings: dict[str, Any], why: str) -> None:
    account, told = look(settings=settings)

    found = family_of(account, family)
    assert found.why.startswith(why)
    assert not found.fired
    assert family not in {finding.family for finding in told}


def test_a_model_that_no_policy_allows_is_told_in_its_own_words() -> None:
    core = ScoreCore(DetectorsConfig(), partition=0, forbidden=lambda *_: "frugal")
    accountant = Accountant(core, "k01", from_s=THEFT_S, until_s=THEFT_S + 60)
    play(core, [*HISTORY, {"ts_s": THEFT_S + 30.0, "key_id": "k01", "cost_usd": 0.01}])

    policy = family_of(accountant.account(), "policy")
    assert (policy.fired, policy.score, policy.threshold, policy.why) == (True, 1.0, 1.0, "fired")
    assert "which policy frugal does not allow" in policy.said


def test_a_threshold_that_any_score_reaches_is_no_mistake() -> None:
    account, _ = look(settings={"velocity": {"alarm_per_key_week": 5000.0}})

    assert family_of(account, "velocity").fired
    assert (family_of(account, "velocity").threshold, account is not None and account.families[0].fired) == (0, True)


def test_a_family_that_spoke_just_before_is_quiet() -> None:
    account, told = look(at_s=THEFT_S + 40, within_s=4)

    velocity = family_of(account, "velocity")
    assert velocity.score >= velocity.threshold
    assert velocity.why == "quiet: it spoke of this key less than 60 s before (`time.refractory_s`)"
    assert any(finding.family == "velocity" for finding in told)


def test_what_a_person_allowed_is_named() -> None:
    mark = Mark(
        mark_id="mrk_1", at_ms=0, by="ann", verdict="expected", reason="load test", key_id="k02", times=1000.0,
        from_ms=THEFT_S * 1000, until_ms=(THEFT_S + 3600) * 1000,
    )  # fmt: skip
    account, told = look(marks=[mark])

    velocity = family_of(account, "velocity")
    assert "1,000 times its usual was expected (mrk_1 by ann)" in velocity.why
    assert not velocity.fired
    assert "velocity" not in {finding.family for finding in told}


def test_a_quiet_key_has_a_baseline_and_nothing_unusual() -> None:
    last = max(int(event["ts_s"]) for event in HISTORY if event["key_id"] == "k03")
    account, _ = look("k03", last, within_s=0)

    assert account is not None
    assert (account.at_s, any(family.fired for family in account.families)) == (last, False)
    assert "its usual peak is" in family_of(account, "velocity").said
    assert "active 10-minute windows brought a new network" in family_of(account, "origin").said
    assert family_of(account, "errors").said.startswith("its usual share of refused requests is 0")
    assert "in the last hour, its earlier peak is" in family_of(account, "drift").said
    assert all(family.said for family in account.families if family.family not in {"policy", "budget"})


def test_a_key_that_was_not_used_then_has_no_account() -> None:
    assert look("k02", THEFT_S + 7200)[0] is None
    assert look("nobody")[0] is None


def test_an_accountant_changes_nothing() -> None:
    core = ScoreCore(DetectorsConfig(), partition=0)
    expected = play(core, HISTORY + THEFT)

    _, told = look()

    assert told == [finding for finding in expected if finding.key_id == "k02"]
