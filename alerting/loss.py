"""What an incident costs and how bad that is. Pure; money in USD, time in milliseconds of event time.

Severity asks one question: how many minutes until the loss passes what the environment may lose?

| severity | when |
|---|---|
| critical | less than 10 minutes are left (or none), or a certain limit is exceeded in production, or it leaked |
| warning | less than 24 hours are left, or a certain limit is exceeded elsewhere, or a detector says so |
| info | everything else |

A detector's own `critical` counts as a warning here: only money, a limit that people wrote down, or somebody who has
found the key wakes people.
"""

from __future__ import annotations

import math
from typing import Final

from alerting.words import span, usd
from schemas.records import TOLD, Finding, Incident, Severity

PRODUCTION: Final = frozenset({"prod", "production"})
CRITICAL_BELOW_MIN: Final = 10.0
WARNING_BELOW_MIN: Final = 24 * 60.0
_FIRST_WINDOW_MS: Final = 60_000  # a finding's rate is the spend of the minute before it
_LONGEST_GAP_MS: Final = 300_000  # two findings further apart say nothing about the time between them
_ORDER: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


def rank(severity: Severity) -> int:
    """0 for info, 2 for critical."""
    return _ORDER.index(severity)


def worse(one: Severity, other: Severity) -> Severity:
    """The graver of two.

    >>> worse("warning", "info")
    'warning'
    """
    return max(one, other, key=rank)


def excess_usd_per_min(of: Finding | Incident) -> float:
    """Spend above normal, never negative: a key that spends less than usual gives nothing back."""
    return max(0.0, of.usd_per_min - of.expected_usd_per_min)


def minutes_left(excess: float, *, lost_usd: float, acceptable_loss_usd: float) -> float:
    """Minutes until the acceptable loss is passed at this rate; infinite when nothing is being lost.

    >>> minutes_left(2.0, lost_usd=10, acceptable_loss_usd=100)
    45.0
    """
    if excess <= 0:
        return math.inf
    return max(0.0, acceptable_loss_usd - lost_usd) / excess


def severity_of(finding: Finding, *, lost_usd: float, acceptable_loss_usd: float) -> Severity:
    """How bad one finding makes its incident; the table above."""
    left = minutes_left(excess_usd_per_min(finding), lost_usd=lost_usd, acceptable_loss_usd=acceptable_loss_usd)
    limit_exceeded = finding.certain and finding.score > 1
    if left < CRITICAL_BELOW_MIN or (limit_exceeded and finding.facts.env.strip().lower() in PRODUCTION):
        return "critical"
    if finding.family in TOLD:
        return finding.severity
    if left < WARNING_BELOW_MIN or limit_exceeded or finding.severity != "info":
        return "warning"
    return "info"


def first_loss_usd(finding: Finding) -> float:
    """Lost before anybody could know: the minute that the finding measured."""
    return excess_usd_per_min(finding) * _FIRST_WINDOW_MS / 60_000


def loss_since_usd(incident: Incident, finding: Finding) -> float:
    """Lost between the incident's last finding and this one: the mean of both rates, for at most five minutes.

    Zero for a finding that comes late or in the same second, so that several families never count a minute twice.
    """
    gap_ms = min(max(0, finding.at_ms - incident.last_finding_at_ms), _LONGEST_GAP_MS)
    mean = (excess_usd_per_min(incident) + excess_usd_per_min(finding)) / 2
    return mean * gap_ms / 60_000


def pace_words(incident: Incident) -> str:
    """How fast it goes, for the person who is woken."""
    if incident.budget is not None:
        return f"{incident.budget.spent / incident.budget.limit:.0%} of the budget is spent"
    if incident.only_told:
        if "leak" not in incident.families:
            return "nobody has said yet whose use this is"
        return "the key was found by others and still works"
    excess, limit = excess_usd_per_min(incident), incident.acceptable_loss_usd
    left = minutes_left(excess, lost_usd=incident.lost_usd, acceptable_loss_usd=limit)
    if left == float("inf"):
        return "a certain limit is exceeded"
    return f"{usd(excess)}/min above normal, the acceptable loss of {usd(limit)} is reached in {span(left * 60)}"
