"""What commands and their outcomes do to an incident. Pure."""

from __future__ import annotations

from typing import Any, Final

from alerting.case import REPEAT, Change, KeyCase, case_of, hear, mark, version, with_step
from alerting.words import STATE_WORDS, STEP_WORDS
from schemas.config.budgets import BudgetsConfig
from schemas.records import (
    CLOSED,
    DOUBTS,
    Command,
    Incident,
    IncidentStep,
    KeyFacts,
    Outcome,
    Step,
    StepState,
    stable_id,
)

CUTS: Final[frozenset[Step]] = frozenset({"block", "disable", "revoke"})  # the key is refused, not merely slowed
UNDOABLE: Final[frozenset[Step]] = frozenset({"throttle", "degrade", "block", "disable"})
GIVEN_BACK: Final = UNDOABLE | {"switch"}  # by a restore
_UNDER_WAY: Final = frozenset({StepState.IN_FLIGHT, StepState.CONFIRMED})
_NOT_ENDED: Final = frozenset({StepState.REQUESTED, StepState.IN_FLIGHT})
_DEFAULT_BUDGETS: Final = BudgetsConfig()


def cut_step(incident: Incident) -> IncidentStep | None:
    """The newest confirmed step that makes the key refused; None while the key works."""
    cuts = [step for step in incident.steps if step.step in CUTS and step.state == StepState.CONFIRMED]
    return cuts[-1] if cuts else None


def needs_person(incident: Incident) -> bool:
    """True while a step has failed for good and nobody has ordered it again."""
    return any(step.state == StepState.IRREVOCABLE for step in incident.steps)


def waiting(incident: Incident) -> list[IncidentStep]:
    """What waits for an approval."""
    return [step for step in incident.steps if step.state == StepState.AWAITING_APPROVAL]


def can_be_restored(incident: Incident) -> bool:
    """True while something is in force that can be undone."""
    return any(step.step in UNDOABLE and step.state == StepState.CONFIRMED for step in incident.steps)


def still_cut_words(incident: Incident) -> str:
    """For whoever reads that it is over: how the key is left. Begins with a space, or is empty."""
    if cut_step(incident) is not None:
        return " The key stays cut until somebody restores it."
    steps = pending(incident)
    return f" Nobody approved: {', '.join(steps)}." if steps else ""


def pending(incident: Incident) -> list[Step]:
    """Steps that wait for an approval."""
    return [step.step for step in waiting(incident)]


def on_command(
    case: KeyCase | None,
    command: Command,
    state: StepState,
    *,
    at_ms: int,
    people_needed: int = 0,
    budgets: BudgetsConfig = _DEFAULT_BUDGETS,
) -> Change:
    """A rung was ordered: the incident shows it.

    A person's order on a closed incident opens it again; on a key without any incident it opens one under the
    command's `incident_id`, with the acceptable loss of `budgets`.
    """
    before = case_of(case, command.key_id)
    name = mark("command", command.command_id, command.at_ms, state, command.by, *command.approvals)
    if name in before.heard:
        return Change(before, (), REPEAT)
    heard = hear(before, name)
    step = IncidentStep(
        step=command.step, command_id=command.command_id, state=state, automatic=command.automatic,
        reversible=command.reversible, at_ms=at_ms, by=command.by, detail=command.reason,
        approvals=command.approvals, people_needed=people_needed,
    )  # fmt: skip
    if heard.incident is None:
        acceptable_usd = budgets.acceptable(command.facts.env)
        heard, incident = _opened(heard, command.incident_id, step, command.facts, acceptable_usd)
        incident = incident.model_copy(update={"mode": command.mode, "headline": command.reason})
    else:
        incident = heard.incident
    known = _step(incident, command.command_id)
    if known and known.state in _UNDER_WAY:
        return Change(heard, (), f"{command.step} is already {STATE_WORDS[known.state]}")
    if known and (known.state, known.by) == (state, command.by):
        return Change(heard, (), f"{command.step} was ordered before")
    reopened = incident.state in CLOSED and command.step != "restore"
    if reopened:
        incident = incident.model_copy(update={"state": "open"})
        heard = heard.model_copy(update={"live_since_ms": at_ms})
    words = f"{'Open again. ' if reopened else ''}{_sentence(step)}"
    return version(heard, with_step(incident, step), at_ms=at_ms, by=command.by, transition=words)


def on_outcome(case: KeyCase | None, outcome: Outcome, *, at_ms: int) -> Change:
    """The contain stage reported: a confirmed cut contains, a failed step calls a person, a restore opens again.

    A failure is shown even when nothing else is known of the key: it is never dropped.
    """
    before = case_of(case, outcome.key_id)
    if outcome.rule in DOUBTS and not _awaited(before.incident, outcome):
        return Change(before, (), "an order that nobody gave, or that had ended: it changes nothing")
    name = mark("outcome", outcome.command_id, outcome.at_ms, outcome.state)
    if name in before.heard:
        return Change(before, (), REPEAT)
    heard, failed = hear(before, name), outcome.state == StepState.IRREVOCABLE
    if heard.incident is None and not failed:
        return Change(heard, (), "there is no incident to show it on")
    step = _reported(heard.incident, outcome, at_ms)
    if heard.incident is None:
        heard, incident = _opened(heard, outcome.incident_id, step, KeyFacts(provider="unknown"), 0.0)
    else:
        incident = heard.incident
    after = with_step(incident, step)
    if outcome.state == StepState.AWAITING_APPROVAL and _waits(incident, step.command_id):
        return Change(heard.model_copy(update={"incident": after}), (), "people were asked when it was ordered")
    if outcome.state == StepState.IN_FLIGHT:
        return Change(heard.model_copy(update={"incident": after}), (), "under way: told when it ends")
    update, words = _effect(after, step, outcome)
    if incident.state in CLOSED and update.get("state") == "open":
        heard = heard.model_copy(update={"live_since_ms": at_ms})
    change = version(heard, after.model_copy(update=update), at_ms=at_ms, by=step.by, transition=words)
    cut_after_all = step.state == StepState.CONFIRMED and step.step in UNDOABLE and step.reversible
    return change._replace(wants_restore=incident.state == "false_positive" and cut_after_all)


def _awaited(incident: Incident | None, outcome: Outcome) -> bool:
    """Whether the order has not ended yet. Who writes into the orders can make up any `command_id`."""
    known = _step(incident, outcome.command_id) if incident else None
    return known is not None and known.state in _NOT_ENDED


def _effect(incident: Incident, step: IncidentStep, outcome: Outcome) -> tuple[dict[str, Any], str]:
    """What the end of a step changes in the incident besides the step, and the words for it."""
    if step.state == StepState.IRREVOCABLE:
        # Open, also when somebody had acknowledged it: what they know is no longer what is so.
        tries = f" after {outcome.attempts} tries" if outcome.attempts else ""
        words = f"A person must act now: {STEP_WORDS[step.step]} failed{tries}. {outcome.detail}".strip()
        return {"state": "open", "severity": "critical"}, words
    if step.state != StepState.CONFIRMED:
        return {}, _sentence(step)
    if step.step == "restore":
        return _restored(incident, step)
    if step.step in CUTS and incident.state not in CLOSED:
        return {"state": "contained"}, f"Contained. {_sentence(step)}"
    if step.step in CUTS:
        back = incident.state == "false_positive" and step.reversible
        then = "it is undone again" if back else "the key stays cut until somebody restores it"
        return {}, f"{_sentence(step)} The incident was closed before: {then}."
    return {}, _sentence(step)


def _restored(incident: Incident, restore: IncidentStep) -> tuple[dict[str, Any], str]:
    """The key works again, so what was confirmed before is undone; a closed incident stays closed."""
    undone = tuple(
        each.model_copy(update={"state": StepState.SUPERSEDED, "detail": f"undone by {restore.by}"})
        if each.step in GIVEN_BACK and each.state == StepState.CONFIRMED
        else each
        for each in incident.steps
    )
    after = incident.model_copy(update={"steps": undone})
    words = f"Restored by {restore.by}: the key works again."
    if cut_step(after) is not None:
        return {"steps": undone}, f"Restored by {restore.by}, but a step that cannot be undone still cuts the key."
    if incident.state == "contained":
        return {"steps": undone, "state": "open"}, f"Open again. {words}"
    return {"steps": undone}, words


def _reported(incident: Incident | None, outcome: Outcome, at_ms: int) -> IncidentStep:
    """The step as the outcome leaves it; one that nobody saw ordered is taken as Keyfuse's own."""
    known = _step(incident, outcome.command_id) if incident else None
    taken_s = outcome.seconds_to_effective
    effective = f"effective after {taken_s:.1f} s" if taken_s is not None else ""
    detail = ": ".join(part for part in (outcome.rule, effective, outcome.detail) if part)
    if known is None:
        return IncidentStep(
            step=outcome.step, command_id=outcome.command_id, state=outcome.state, automatic=True,
            reversible=outcome.step != "revoke", at_ms=at_ms, by="keyfuse", detail=detail,
        )  # fmt: skip
    return known.model_copy(update={"state": outcome.state, "at_ms": at_ms, "detail": detail or known.detail})


def _opened(
    case: KeyCase, incident_id: str, step: IncidentStep, facts: KeyFacts, acceptable_usd: float
) -> tuple[KeyCase, Incident]:
    """An incident that no finding opened: somebody acted on a key that looked healthy."""
    incident = Incident(
        incident_id=incident_id or stable_id("inc", case.key_id, step.command_id), seq=0, key_id=case.key_id,
        state="open", severity="warning", families=(), headline=_sentence(step), opened_at_ms=step.at_ms,
        updated_at_ms=step.at_ms, last_finding_at_ms=step.at_ms, findings=0, usd_per_min=0.0,
        expected_usd_per_min=0.0, lost_usd=0.0, acceptable_loss_usd=acceptable_usd, mode="observe", facts=facts,
        transition="",
    )  # fmt: skip
    return case.model_copy(update={"live_since_ms": step.at_ms, "headline_score": 0.0}), incident


def _step(incident: Incident, command_id: str) -> IncidentStep | None:
    return next((step for step in incident.steps if step.command_id == command_id), None)


def _waits(incident: Incident, command_id: str) -> bool:
    known = _step(incident, command_id)
    return known is not None and known.state == StepState.AWAITING_APPROVAL


def _sentence(step: IncidentStep) -> str:
    who = "" if step.automatic or step.by == "keyfuse" else f", by {step.by}"
    if step.state == StepState.AWAITING_APPROVAL and step.approvals:
        who += f" ({len(step.approvals)} of {step.people_needed} people: {', '.join(step.approvals)})"
    detail = f": {step.detail}" if step.detail else ""
    return f"{STEP_WORDS[step.step].capitalize()} {STATE_WORDS[step.state]}{who}{detail.rstrip('.')}."
