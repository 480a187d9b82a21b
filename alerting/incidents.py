"""The state machine of one key: open → acknowledged → contained → resolved or false positive. Pure.

At most one incident is open per key. Each message gives a `Change`: the new case, no or one new version of the
incident, and the reason. A new version is made only for what a person would want to know. A message that comes
twice changes nothing. Time is event time and always an argument.
"""

from __future__ import annotations

from typing import Any, Final

from alerting.budgets import on_budget
from alerting.case import REPEAT, Change, KeyCase, case_of, see, version
from alerting.loss import excess_usd_per_min, first_loss_usd, loss_since_usd, pace_words, rank, severity_of, worse
from alerting.steps import cut_step, on_command, on_outcome
from alerting.words import span, usd
from controls.leaks import leaks_words, remembered
from schemas.config.budgets import BudgetsConfig
from schemas.config.responses import ResponsesConfig
from schemas.records import TOLD, Finding, Incident, Severity, stable_id

__all__ = ["REPEAT", "Change", "KeyCase", "on_command", "on_finding", "on_outcome"]

_DOUBT_AFTER_MS: Final = 120_000  # the one-minute spend window and late events must be over before a cut is doubted
_LOSS_WORTH_TELLING: Final = 0.1  # of the acceptable loss; below that a doubling is noise


def on_finding(case: KeyCase | None, finding: Finding, *, responses: ResponsesConfig, budgets: BudgetsConfig) -> Change:
    """A detector spoke: it opens the key's incident or feeds the open one.

    Args:
        case: What is remembered of the key; None for a new one.
        finding: Dropped as a repeat when its detector's last finding is as new.
        responses: Modes and the refractory time after closing.
        budgets: The acceptable loss that severity is measured against.
    """
    before = case_of(case, finding.key_id)
    seen = see(before, finding)
    if seen is None:
        return Change(before, (), REPEAT)
    acceptable_usd = budgets.acceptable(finding.facts.env)
    mode = responses.mode_of(finding.key_id, finding.facts.env)
    current = {"acceptable_loss_usd": acceptable_usd, "mode": mode, "facts": finding.facts}
    if finding.budget is not None:
        return on_budget(before, seen, finding, current)
    if seen.open is not None:
        return _feed(seen, seen.open, finding, current)
    severity = severity_of(finding, lost_usd=first_loss_usd(finding), acceptable_loss_usd=acceptable_usd)
    quiet = _why_quiet(seen, finding, severity, reopen_after_s=responses.reopen_after_s)
    if quiet:
        return Change(seen, (), quiet)
    return _open(seen, finding, severity, current)


def _why_quiet(case: KeyCase, finding: Finding, severity: Severity, *, reopen_after_s: float) -> str:
    """Why this finding opens nothing so soon after the last incident; empty when it does."""
    last, closed_at_ms = case.incident, case.closed_at_ms
    if finding.family in TOLD and last is not None and cut_step(last) is not None:
        return "the key is cut since its last incident: who found it can do nothing with it"
    if last is None or closed_at_ms is None or finding.at_ms >= closed_at_ms + reopen_after_s * 1000:
        return ""
    if severity != "critical":
        return f"the last incident closed less than {span(reopen_after_s)} ago and this is no more than {severity}"
    judged = finding.family in last.families and finding.usd_per_min <= 2 * last.usd_per_min
    if last.state == "false_positive" and judged:
        # A person has just called this harmless and the key was given back: opening again at once would cut it again.
        return f"a person called the same a false positive less than {span(reopen_after_s)} ago"
    if finding.family in TOLD and finding.family in last.families:
        return f"a person closed a report of the same less than {span(reopen_after_s)} ago"
    return ""


def _open(case: KeyCase, finding: Finding, severity: Severity, current: dict[str, Any]) -> Change:
    incident = Incident(
        incident_id=stable_id("inc", finding.key_id, finding.finding_id), seq=0, key_id=finding.key_id, state="open",
        severity=severity, families=(finding.family,), headline=finding.reason,
        reasons={finding.family: finding.reason}, opened_at_ms=finding.at_ms, updated_at_ms=finding.at_ms,
        last_finding_at_ms=finding.at_ms, findings=1, usd_per_min=finding.usd_per_min,
        expected_usd_per_min=finding.expected_usd_per_min, lost_usd=first_loss_usd(finding), transition="",
        scores=_scores(finding), sketch=finding.sketch, leaks=(finding.leak,) if finding.leak else (), **current,
    )  # fmt: skip
    certain, score = _strength(finding)
    strength = {"headline_certain": certain, "headline_score": score, "live_since_ms": finding.at_ms}
    words = f"Opened as {severity}: {finding.reason}"
    return version(case.model_copy(update=strength), incident, at_ms=finding.at_ms, by="keyfuse", transition=words)


def _feed(case: KeyCase, incident: Incident, finding: Finding, current: dict[str, Any]) -> Change:
    lost_usd = incident.lost_usd + _more_lost_usd(incident, finding)
    severity = severity_of(finding, lost_usd=lost_usd, acceptable_loss_usd=current["acceptable_loss_usd"])
    families = incident.families if finding.family in incident.families else (*incident.families, finding.family)
    leaks = remembered(incident.leaks, finding.leak) if finding.leak else incident.leaks
    reason = f"the key was {leaks_words(leaks)}" if finding.leak else finding.reason
    update: dict[str, Any] = {
        "families": families,
        "reasons": {**incident.reasons, finding.family: reason},
        "severity": worse(incident.severity, severity),
        "findings": incident.findings + 1,
        "lost_usd": lost_usd,
        "scores": {**incident.scores, **_scores(finding, incident.scores.get(finding.family, 0.0))},
        "leaks": leaks,
    }
    if _is_now(incident, finding):
        update |= current | {
            "last_finding_at_ms": finding.at_ms,
            "usd_per_min": finding.usd_per_min,
            "expected_usd_per_min": finding.expected_usd_per_min,
            "sketch": finding.sketch or incident.sketch,
        }
    if _strength(finding) > (case.headline_certain, case.headline_score):
        certain, score = _strength(finding)
        update["headline"] = reason
        case = case.model_copy(update={"headline_certain": certain, "headline_score": score})
    around = _way_around(incident, finding)
    # A cut that does not hold is worth waking somebody, whatever the pace: nothing else stands between thief and money.
    fed = incident.model_copy(update=update | ({"state": "open", "severity": "critical"} if around else {}))
    fed = _awake(incident, fed, told_lost_usd=case.told_lost_usd)
    news = around or _news(incident, fed, finding, told_lost_usd=case.told_lost_usd)
    if not news:
        return Change(case.model_copy(update={"incident": fed}), (), "nothing that a person does not know yet")
    return version(case, fed, at_ms=finding.at_ms, by="keyfuse", transition=news)


def _is_now(incident: Incident, finding: Finding) -> bool:
    """Whether it says what the key does now: a late finding adds evidence, and what others tell is not of its use.

    An incident that only a report opened knows nothing of the key's use, and its time is not that of events.
    """
    if finding.family in TOLD:
        return False
    return finding.at_ms >= incident.last_finding_at_ms or incident.only_told


def _more_lost_usd(incident: Incident, finding: Finding) -> float:
    if finding.family in TOLD:
        return 0.0
    if incident.only_told:
        return first_loss_usd(finding)
    return loss_since_usd(incident, finding)


def _scores(finding: Finding, before: float = 0.0) -> dict[str, float]:
    """What others tell has no score."""
    return {} if finding.family in TOLD else {finding.family: max(finding.score, before)}


def _strength(finding: Finding) -> tuple[bool, float]:
    """What decides which sentence is the headline: limits and reports before what is learned."""
    return finding.certain or (finding.leak is not None and finding.leak.counts), finding.score


def _way_around(incident: Incident, finding: Finding) -> str:
    """A contained key that still spends is not contained: perhaps there is a way around the gateway."""
    cut = cut_step(incident)
    if incident.state != "contained" or cut is None or excess_usd_per_min(finding) <= 0:
        return ""
    late_ms = finding.at_ms - cut.at_ms
    if late_ms <= _DOUBT_AFTER_MS:
        return ""
    return f"Still spending {usd(finding.usd_per_min)}/min, {span(late_ms / 1000)} after {cut.step} was confirmed."


def _awake(before: Incident, after: Incident, *, told_lost_usd: float) -> Incident:
    """A snooze was of what was known: it ends when the incident gets worse than that."""
    if after.snoozed_until_ms is None:
        return after
    passed = told_lost_usd <= after.acceptable_loss_usd < after.lost_usd
    leaked = bool(after.leaks) and not before.leaks
    if not (passed or leaked) and rank(after.severity) <= rank(before.severity):
        return after
    return after.model_copy(update={"state": "open", "snoozed_until_ms": None})


def _news(before: Incident, after: Incident, finding: Finding, *, told_lost_usd: float) -> str:
    """What a person would want to know of this finding; empty when they know it already."""
    news = []
    if rank(after.severity) > rank(before.severity):
        why = "the key was found by others" if finding.family == "leak" else pace_words(after)
        news.append(f"Raised to {after.severity}: {why}.")
    proved = any(leak.verified for leak in after.leaks) and not any(leak.verified for leak in before.leaks)
    if finding.family not in before.families:
        news.append(f"Also {finding.family}: {finding.reason}")
    elif proved:
        news.append(f"The leak is verified: {finding.reason}")
    lost, limit = after.lost_usd, after.acceptable_loss_usd
    if told_lost_usd <= limit < lost:
        news.append(f"The acceptable loss of {usd(limit)} is passed: {usd(lost)} lost so far.")
    elif lost >= 2 * told_lost_usd and lost >= _LOSS_WORTH_TELLING * limit:
        news.append(f"{usd(lost)} lost so far, of {usd(limit)} acceptable.")
    return " ".join(news)
