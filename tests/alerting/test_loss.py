"""Severity is minutes of loss; loss only grows and is never counted for a time nobody measured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.loss import first_loss_usd, loss_since_usd, severity_of, worse
from schemas.records import KeyFacts, Severity
from tests.alerting.world import finding, incident

DEV = KeyFacts(provider="openai", env="dev")
CERTAIN: dict[str, Any] = {"family": "policy", "usd_per_min": 0.0, "severity": "warning"}


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("9 minutes left", {"usd_per_min": 0.1 + 100 / 9}, "critical"),
        ("11 minutes left", {"usd_per_min": 0.1 + 100 / 11}, "warning"),
        ("23 hours left", {"usd_per_min": 0.1 + 100 / (23 * 60), "severity": "info"}, "warning"),
        ("25 hours left", {"usd_per_min": 0.1 + 100 / (25 * 60), "severity": "info"}, "info"),
        ("spends less than usual", {"usd_per_min": 0.0, "severity": "info"}, "info"),
        ("a detector's warning without loss", {"usd_per_min": 0.0, "severity": "warning"}, "warning"),
        ("a detector's critical without loss wakes nobody", {"usd_per_min": 0.0, "severity": "critical"}, "warning"),
        ("limit exceeded in production", CERTAIN | {"score": 1.01}, "critical"),
        ("limit exceeded in development", CERTAIN | {"score": 1.01, "facts": DEV}, "warning"),
        ("limit reached, not exceeded", CERTAIN | {"score": 1.0, "severity": "info"}, "info"),
    ],
)
def test_severity(case: str, changes: dict[str, Any], expected: Severity) -> None:
    assert severity_of(finding(**changes), lost_usd=0, acceptable_loss_usd=100) == expected, case


def test_a_passed_limit_is_critical_while_the_loss_goes_on() -> None:
    slow = finding(usd_per_min=0.11)
    assert severity_of(slow, lost_usd=100, acceptable_loss_usd=100) == "critical"


@given(st.sampled_from(["info", "warning", "critical"]), st.sampled_from(["info", "warning", "critical"]))
def test_worse_never_lowers(one: Severity, other: Severity) -> None:
    assert worse(one, other) in (one, other)
    assert worse(worse(one, other), one) == worse(one, other)


def test_the_first_finding_has_cost_the_minute_it_measured() -> None:
    assert first_loss_usd(finding(usd_per_min=3.1, expected_usd_per_min=0.1)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("case", "at_s", "expected_usd"),
    [
        ("same second", 0, 0.0),
        ("late", -30, 0.0),
        ("one minute at the mean of 2.9 and 4.9", 60, 3.9),
        ("an hour counts for five minutes only", 3600, 19.5),
    ],
)
def test_loss_between_two_findings(case: str, at_s: float, expected_usd: float) -> None:
    assert loss_since_usd(incident(), finding(at_s, usd_per_min=5.0)) == pytest.approx(expected_usd), case
