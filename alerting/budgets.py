"""The incident of a budget, which is no key: all that the desk says of it is news, and nothing is ever cut. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from alerting.case import Change, KeyCase, version
from alerting.loss import rank, worse
from alerting.words import bar, clean, usd
from schemas.records import BudgetView, Finding, Incident, rfc3339, stable_id

NO_KEY: Final = (
    "a budget is no key: there is nothing to cut. Its limits are in budgets.yaml; `keyfuse budgets` shows it"
)


def on_budget(before: KeyCase, seen: KeyCase, finding: Finding, current: dict[str, Any]) -> Change:
    """Open the budget's incident, or tell what is new in the open one.

    Args:
        before: The case without this finding: what this incident has heard already.
        seen: The case with it.
        finding: Of a budget.
        current: What an incident always shows as it is now.
    """
    words = f"{finding.reason[:1].upper()}{finding.reason[1:]}."
    current = current | {"budget": finding.budget, "acceptable_loss_usd": 0.0, "last_finding_at_ms": finding.at_ms}
    current |= {"usd_per_min": finding.usd_per_min, "expected_usd_per_min": finding.expected_usd_per_min}
    known = seen.open
    if known is None:
        incident = Incident(
            incident_id=stable_id("inc", finding.key_id, finding.finding_id), seq=0, key_id=finding.key_id,
            state="open", severity=finding.severity, families=(finding.family,), headline=finding.reason,
            opened_at_ms=finding.at_ms, updated_at_ms=finding.at_ms, findings=1, lost_usd=0.0, transition="", **current,
        )  # fmt: skip
        case = seen.model_copy(update={"live_since_ms": finding.at_ms})
        return version(case, incident, at_ms=finding.at_ms, by="keyfuse", transition=f"{words} ({finding.severity})")
    graver = rank(finding.severity) >= rank(known.severity)
    fed = known.model_copy(update=current | {
        "findings": known.findings + 1, "severity": worse(known.severity, finding.severity),
        "headline": finding.reason if graver else known.headline,
    })  # fmt: skip
    if before.seen.get(f"{finding.family}/{finding.detector}", -1) >= known.opened_at_ms:
        return Change(seen.model_copy(update={"incident": fed}), (), "it still burns, as people know")
    if rank(fed.severity) > rank(known.severity):  # who has the milder thing in hand was not asked about this
        fed = fed.model_copy(update={"state": "open", "snoozed_until_ms": None})
    return version(seen, fed, at_ms=finding.at_ms, by="keyfuse", transition=words)


def why_stays(incident: Incident, clock_ms: int) -> str:
    """Why silence does not end it; empty where it does."""
    view = incident.budget
    if view is None or not (view.used_up and view.stops) or clock_ms >= view.until_ms:
        return ""
    return "the budget is used up until its period ends"


def budget_title(view: BudgetView) -> str:
    return f"budget {clean(view.budget, 80)}, {clean(view.scope, 120)}"


def standing(view: BudgetView) -> str:
    """How much of it is spent, in one line.

    >>> standing(BudgetView(budget="b", scope="everything", unit="usd", period="2026-11", at_ms=0, from_ms=0,
    ...                     until_ms=1, spent=80, limit=100))
    '████████████████░░░░ 80% of $100.00 in 2026-11'
    """
    share = view.spent / view.limit if view.limit else 0.0
    when = f"within the {view.period}" if view.period.startswith("last ") else f"in {view.period}"
    return f"{bar(share)} {share:.0%} of {amount(view, view.limit)} {when}"


def amount(view: BudgetView, value: float) -> str:
    """In the budget's own unit."""
    return usd(value) if view.unit == "usd" else f"{value:,.0f} tokens"


def budget_facts(incident: Incident, view: BudgetView) -> Iterator[tuple[str, str]]:
    """What people want to know of it, in the order in which they ask."""
    yield "Budget", f"{clean(view.budget, 80)}: {clean(view.scope, 120)}"
    yield "Spent", f"{amount(view, view.spent)}: {standing(view)}"
    if view.projected is not None and not view.used_up:
        end = rfc3339(view.until_ms)[:10]
        yield "At this pace", f"{amount(view, view.projected)} by {end}"
    yield "Last hour", amount(view, view.per_hour)
    yield "When it is used up", "gates refuse its calls" if view.stops else "it is told, and calls go on"
    if view.degrade:
        yield "Cheaper now", clean(", ".join(f"{model} → {cheaper}" for model, cheaper in view.degrade.items()), 300)
    yield "Owner", clean(view.owner, 80) or "nobody: name one in budgets.yaml"
    yield "Incident", f"{incident.incident_id}, opened {rfc3339(incident.opened_at_ms)}"
