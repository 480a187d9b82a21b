"""The state machine of one key: open → acknowledged → contained → resolved or false positive. Pure.

At most one incident is open per key. Each message gives a `Change`: the new case, no or one new version of the
incident, and the reason. A new version is made only for what a person would want to know. A message that comes
twice changes nothing. Time is event time and always an argument.
"""

from __future__ import annotations

from typing import Any, Final

from alerting.case import REPEAT, Change, KeyCase, case_of, closed, hear, mark, see, version
from alerting.loss import excess_usd_per_min, first_loss_usd, loss_since_usd, minutes_left, rank, severity_of, worse
from alerting.steps import CUTS, GIVEN_BACK, cut_step, needs_person, on_command, on_outcome, pending
from alerting.words import INCIDENT_WORDS, span, usd
from schemas.config.policies import BudgetsConfig
from schemas.config.responses import ResponsesConfig
from schemas.records import CLOSED, Finding, Incident, Request, Severity, StepState, stable_id

__all__ = ["REPEAT", "Change", "KeyCase", "on_command", "on_finding", "on_outcome", "on_request", "on_silence"]

_LEAK_AFTER_MS: Final = 120_000  # the one-minute spend window and late events must be over before a cut is doubted
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
    if seen.open is not None:
        return _feed(seen, seen.open, finding, current)
    severity = severity_of(finding, lost_usd=first_loss_usd(finding), acceptable_loss_usd=acceptable_usd)
    quiet = _why_quiet(seen, finding, severity, reopen_after_s=responses.reopen_after_s)
    if quiet:
        return Change(seen, (), quiet)
    return _open(seen, finding, severity, current)


def on_request(case: KeyCase | None, request: Request, *, at_ms: int) -> Change:
    """A person spoke: acknowledge, resolve, or call it a false positive. Other actions are the ladder's."""
    before = case_of(case, request.key_id)
    name = mark("request", request.request_id)
    if name in before.heard:
        return Change(before, (), REPEAT)
    heard, incident = hear(before, name), before.incident
    if request.action not in ("acknowledge", "resolve", "false_positive"):
        return Change(heard, (), f"{request.action} does not change the incident by itself")
    if incident is None:
        return Change(heard, (), "no incident for this key")
    if request.action == "false_positive":
        return _false_positive(heard, incident, request, at_ms)
    if request.action == "resolve":
        return _resolve(heard, incident, request, at_ms)
    return _acknowledge(heard, incident, request, at_ms)


def on_silence(case: KeyCase, clock_ms: int, *, responses: ResponsesConfig) -> Change:
    """The clock moved on: an incident without findings for `resolve_after_s` resolves itself.

    It closes at the moment the silence was long enough, not when somebody looked, so that a replay says the same. One
    with a failed step stays open until a person has acted: silence does not prove that the key is dead.
    """
    incident = case.open
    if incident is None:
        return Change(case, (), "no open incident")
    if needs_person(incident):
        return Change(case, (), "a step has failed: a person must act and resolve it")
    over_ms = max(incident.last_finding_at_ms, case.live_since_ms) + int(responses.resolve_after_s * 1000)
    if clock_ms < over_ms:
        return Change(case, (), "not silent for long enough")
    words = f"Resolved: nothing suspicious for {span(responses.resolve_after_s)}.{_still_cut(incident)}"
    resolved = incident.model_copy(update={"state": "resolved"})
    return closed(case, resolved, at_ms=over_ms, by="keyfuse", transition=words)


def _why_quiet(case: KeyCase, finding: Finding, severity: Severity, *, reopen_after_s: float) -> str:
    """Why this finding opens nothing so soon after the last incident; empty when it does."""
    last, closed_at_ms = case.incident, case.closed_at_ms
    if last is None or closed_at_ms is None or finding.at_ms >= closed_at_ms + reopen_after_s * 1000:
        return ""
    if severity != "critical":
        return f"the last incident closed less than {span(reopen_after_s)} ago and this is no more than {severity}"
    judged = finding.family in last.families and finding.usd_per_min <= 2 * last.usd_per_min
    if last.state == "false_positive" and judged:
        # A person has just called this harmless and the key was given back: opening again at once would cut it again.
        return f"a person called the same a false positive less than {span(reopen_after_s)} ago"
    return ""


def _open(case: KeyCase, finding: Finding, severity: Severity, current: dict[str, Any]) -> Change:
    incident = Incident(
        incident_id=stable_id("inc", finding.key_id, finding.finding_id), seq=0, key_id=finding.key_id, state="open",
        severity=severity, families=(finding.family,), headline=finding.reason,
        reasons={finding.family: finding.reason}, opened_at_ms=finding.at_ms, updated_at_ms=finding.at_ms,
        last_finding_at_ms=finding.at_ms, findings=1, usd_per_min=finding.usd_per_min,
        expected_usd_per_min=finding.expected_usd_per_min, lost_usd=first_loss_usd(finding), transition="",
        scores={finding.family: finding.score}, sketch=finding.sketch, **current,
    )  # fmt: skip
    strength = {"headline_certain": finding.certain, "headline_score": finding.score, "live_since_ms": finding.at_ms}
    words = f"Opened as {severity}: {finding.reason}"
    return version(case.model_copy(update=strength), incident, at_ms=finding.at_ms, by="keyfuse", transition=words)


def _feed(case: KeyCase, incident: Incident, finding: Finding, current: dict[str, Any]) -> Change:
    lost_usd = incident.lost_usd + loss_since_usd(incident, finding)
    severity = severity_of(finding, lost_usd=lost_usd, acceptable_loss_usd=current["acceptable_loss_usd"])
    families = incident.families if finding.family in incident.families else (*incident.families, finding.family)
    update: dict[str, Any] = {
        "families": families,
        "reasons": {**incident.reasons, finding.family: finding.reason},
        "severity": worse(incident.severity, severity),
        "findings": incident.findings + 1,
        "lost_usd": lost_usd,
        "scores": {**incident.scores, finding.family: max(finding.score, incident.scores.get(finding.family, 0.0))},
    }
    if finding.at_ms >= incident.last_finding_at_ms:  # a late finding adds evidence, but is not what happens now
        update |= current | {
            "last_finding_at_ms": finding.at_ms,
            "usd_per_min": finding.usd_per_min,
            "expected_usd_per_min": finding.expected_usd_per_min,
            "sketch": finding.sketch or incident.sketch,
        }
    if (finding.certain, finding.score) > (case.headline_certain, case.headline_score):
        update["headline"] = finding.reason
        case = case.model_copy(update={"headline_certain": finding.certain, "headline_score": finding.score})
    leak = _leak(incident, finding)
    # A cut that does not hold is worth waking somebody, whatever the pace: nothing else stands between thief and money.
    fed = incident.model_copy(update=update | ({"state": "open", "severity": "critical"} if leak else {}))
    news = leak or _news(incident, fed, finding, told_lost_usd=case.told_lost_usd)
    if not news:
        return Change(case.model_copy(update={"incident": fed}), (), "nothing that a person does not know yet")
    return version(case, fed, at_ms=finding.at_ms, by="keyfuse", transition=news)


def _leak(incident: Incident, finding: Finding) -> str:
    """A contained key that still spends is not contained: perhaps there is a way around the gateway."""
    cut = cut_step(incident)
    if incident.state != "contained" or cut is None or excess_usd_per_min(finding) <= 0:
        return ""
    late_ms = finding.at_ms - cut.at_ms
    if late_ms <= _LEAK_AFTER_MS:
        return ""
    return f"Still spending {usd(finding.usd_per_min)}/min, {span(late_ms / 1000)} after {cut.step} was confirmed."


def _news(before: Incident, after: Incident, finding: Finding, *, told_lost_usd: float) -> str:
    """What a person would want to know of this finding; empty when they know it already."""
    news = []
    if rank(after.severity) > rank(before.severity):
        news.append(f"Raised to {after.severity}: {_pace(after)}.")
    if finding.family not in before.families:
        news.append(f"Also {finding.family}: {finding.reason}")
    lost, limit = after.lost_usd, after.acceptable_loss_usd
    if told_lost_usd <= limit < lost:
        news.append(f"The acceptable loss of {usd(limit)} is passed: {usd(lost)} lost so far.")
    elif lost >= 2 * told_lost_usd and lost >= _LOSS_WORTH_TELLING * limit:
        news.append(f"{usd(lost)} lost so far, of {usd(limit)} acceptable.")
    return " ".join(news)


def _pace(incident: Incident) -> str:
    excess, limit = excess_usd_per_min(incident), incident.acceptable_loss_usd
    left = minutes_left(excess, lost_usd=incident.lost_usd, acceptable_loss_usd=limit)
    if left == float("inf"):
        return "a certain limit is exceeded"
    return f"{usd(excess)}/min above normal, the acceptable loss of {usd(limit)} is reached in {span(left * 60)}"


def _false_positive(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    """Also for an incident that resolved itself: the person may look only in the morning, and the key is still cut."""
    if incident.state == "false_positive":
        return Change(case, (), "the incident is already a false positive")
    undo = [step.step for step in incident.steps if step.state == StepState.CONFIRMED and step.step in GIVEN_BACK]
    final = any(
        step.state == StepState.CONFIRMED and step.step in CUTS and not step.reversible for step in incident.steps
    )
    words = f"{request.by} says this is a false positive{_because(request)}."
    if undo:
        words += f" The key is given back: {', '.join(undo)} will be undone."
    if final:
        words += " A step cannot be undone: the owner needs a new key."
    harmless = incident.model_copy(update={"state": "false_positive"})
    change = closed(case, harmless, at_ms=at_ms, by=request.by, transition=words)
    return change._replace(wants_restore=bool(undo))


def _resolve(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    if incident.state in CLOSED:
        return Change(case, (), f"the incident is already {INCIDENT_WORDS[incident.state]}")
    words = f"Resolved by {request.by}{_because(request)}.{_still_cut(incident)}"
    resolved = incident.model_copy(update={"state": "resolved"})
    return closed(case, resolved, at_ms=at_ms, by=request.by, transition=words)


def _acknowledge(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    if incident.state != "open":
        return Change(case, (), f"the incident is already {INCIDENT_WORDS[incident.state]}")
    taken = incident.model_copy(update={"state": "acknowledged"})
    words = f"{request.by} is looking into it{_because(request)}."
    return version(case, taken, at_ms=at_ms, by=request.by, transition=words)


def _because(request: Request) -> str:
    return f": {request.reason.rstrip('.')}" if request.reason else ""


def _still_cut(incident: Incident) -> str:
    if cut_step(incident) is not None:
        return " The key stays cut until somebody restores it."
    waiting = pending(incident)
    return f" Nobody approved: {', '.join(waiting)}." if waiting else ""
