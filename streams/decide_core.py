"""What the decide stage and `keyfuse replay` share: one message about one key in, the new case and its effects out.

Pure. Alerting knows incidents, containment knows the ladder; this is the one place where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from alerting.case import REPEAT, Change, KeyCase
from alerting.incidents import on_finding, on_request, on_silence
from alerting.steps import on_command, on_outcome
from containment.ladder import Choice, choose
from containment.orders import FREEZES
from containment.providers.base import StepsOf, StepSpec, reversibility
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.records import (
    CERTAIN,
    CLOSED,
    Command,
    Finding,
    Incident,
    KeyFacts,
    Mark,
    Outcome,
    Request,
    Step,
    StepState,
)
from schemas.redact import redact

Offered = Callable[[str, KeyFacts], Mapping[Step, StepSpec]]
"""What can be done with a key, by its key_id and what is known of it."""
# A provider nobody configured: its usual rung is ordered all the same. In observe mode that says what would be done;
# in auto it ends irrevocable, and a person is paged to cut the key by hand.
UNCONFIGURED: Final[Mapping[Step, StepSpec]] = {"disable": StepSpec(True, "key", 0, "The key is refused.")}
_PEOPLES_STEPS: tuple[Step, ...] = ("disable", "block", "throttle", "revoke")
_STATE_OF = {"run": StepState.REQUESTED, "await_approval": StepState.AWAITING_APPROVAL, "dry_run": StepState.REQUESTED}


def offers(providers: Mapping[str, StepsOf]) -> Offered:
    """What the configured providers can do with each key. One that knows no such key is as good as none."""

    def offered(key_id: str, facts: KeyFacts) -> Mapping[Step, StepSpec]:
        steps_of = providers.get(facts.provider)
        return (steps_of(facts.provider_ref or key_id) if steps_of else {}) or UNCONFIGURED

    return offered


class Decision(NamedTuple):
    """What one message changes: the key's case, new incident versions in order, commands and marks to send."""

    case: KeyCase | None
    incidents: tuple[Incident, ...] = ()
    commands: tuple[Command, ...] = ()
    reason: str = ""
    marks: tuple[Mark, ...] = ()
    passed_on: Request | None = None  # a freeze or its end, which is the contain stage's to carry out


class Decider:
    """The rules of one install. Holds configuration only; the cases belong to the caller."""

    def __init__(self, responses: ResponsesConfig, budgets: BudgetsConfig, offered: Offered) -> None:
        self.responses = responses
        self.budgets = budgets
        self._offered = offered

    def finding(self, case: KeyCase | None, finding: Finding) -> Decision:
        """A finding opens or feeds the key's incident, and may order the next rung."""
        silent = self.silence(case, finding.at_ms)
        change = on_finding(silent.case, finding, responses=self.responses, budgets=self.budgets)
        decision = Decision(change.case, silent.incidents + change.incidents, (), change.reason)
        if change.reason == REPEAT:
            return decision
        return self._climb(decision, finding)

    def outcome(self, case: KeyCase | None, outcome: Outcome, *, at_ms: int) -> Decision:
        """What became of a command."""
        change = on_outcome(case, outcome, at_ms=at_ms)
        decision = _decision(change)
        if change.wants_restore:  # the cut was on its way when a person said that the key is healthy
            return self._order(decision, _restore(change.case, at_ms=at_ms, by="keyfuse", reason=change.reason))
        return decision

    def silence(self, case: KeyCase | None, clock_ms: int) -> Decision:
        """An incident without findings for `resolve_after_s` ends."""
        if case is None:
            return Decision(None)
        return _decision(on_silence(case, clock_ms, responses=self.responses))

    def request(self, case: KeyCase | None, request: Request) -> Decision:
        """A person's word. `contain`, `approve` and `restore` become commands that no cap stops."""
        if request.action in FREEZES:
            return Decision(case, reason=request.action, passed_on=request)
        if request.action in ("contain", "approve"):
            return self._contain(case, request)
        if case is None:
            return Decision(None, reason="no incident for this key")
        change = on_request(case, request, at_ms=request.at_ms)
        decision = _decision(change)
        if change.reason == REPEAT:
            return decision  # its command went out before the request was remembered
        decision = decision._replace(marks=_marks(change, request))
        if request.action == "restore" or change.wants_restore:
            reason = request.reason or f"{request.by} asked for it"
            return self._order(decision, _restore(change.case, at_ms=request.at_ms, by=request.by, reason=reason))
        return decision

    def _climb(self, decision: Decision, finding: Finding) -> Decision:
        incident = decision.case.incident if decision.case else None
        if incident is None or incident.state in CLOSED:
            return decision
        certain = finding.certain or any(family in CERTAIN for family in incident.families)
        steps = self._offered(incident.key_id, incident.facts)
        choice = choose(
            incident, certain=certain, config=self.responses,
            offered=reversibility(steps, wider=self.responses.ladder.wider_steps), at_ms=finding.at_ms,
        )  # fmt: skip
        if choice.step is None or choice.go == "nothing":
            return decision
        return self._order(decision, _automatic(incident, choice, finding.at_ms), _STATE_OF[choice.go])

    def _contain(self, case: KeyCase | None, request: Request) -> Decision:
        incident = case.incident if case else None
        facts = incident.facts if incident else request.facts
        if facts is None:
            return Decision(case, reason="an unknown key: name its provider")
        offered = self._offered(request.key_id, facts)
        waiting = _waiting(incident) if incident else None
        step = request.step or waiting or peoples_step(offered)
        if step is None or step not in offered:
            return Decision(case, reason=f"{facts.provider} offers no such step for this key: name one that it has")
        incident_id = incident.incident_id if incident else f"manual:{request.request_id}"
        approvals = (_approvals(case, step) | {request.by}) if case else {request.by}
        command = Command(
            command_id=Command.id_of(incident_id, request.key_id, step), at_ms=request.at_ms,
            incident_id=incident_id, key_id=request.key_id, step=step, automatic=False,
            reversible=offered[step].reversible, mode="auto", by=request.by, approvals=tuple(sorted(approvals)),
            reason=request.reason or f"{request.by} asked for it", facts=facts,
        )  # fmt: skip
        return self._order(Decision(case), command)

    def _order(self, decision: Decision, command: Command, state: StepState = StepState.REQUESTED) -> Decision:
        change = on_command(decision.case, command, state, at_ms=command.at_ms, budgets=self.budgets)
        return Decision(
            change.case, decision.incidents + change.incidents, (*decision.commands, command), change.reason,
            decision.marks,
        )  # fmt: skip


def peoples_step(offered: Mapping[Step, StepSpec]) -> Step | None:
    """What a person means who names no step: never what stops healthy keys besides. That has to be named."""
    return next((step for step in _PEOPLES_STEPS if step in offered and offered[step].scope == "key"), None)


def _decision(change: Change) -> Decision:
    return Decision(change.case, change.incidents, (), change.reason)


def _marks(change: Change, request: Request) -> tuple[Mark, ...]:
    """A false positive teaches the detectors that spoke; one that only a person had ordered teaches nobody."""
    if request.action != "false_positive":
        return ()
    return tuple(
        Mark(
            mark_id=Mark.id_of(told.incident_id), at_ms=request.at_ms, by=request.by or "unknown",
            verdict="false_positive", reason=redact(request.reason) or "no reason was given", key_id=told.key_id,
            incident_id=told.incident_id, families=told.families, from_ms=told.opened_at_ms,
            until_ms=max(told.opened_at_ms, told.last_finding_at_ms),
        )
        for told in change.incidents if told.families
    )  # fmt: skip


def _restore(case: KeyCase, *, at_ms: int, by: str, reason: str) -> Command:
    incident = case.incident
    assert incident is not None  # noqa: S101 - whoever wants a restore has an incident
    return Command(
        command_id=Command.id_of(f"{incident.incident_id}:{incident.seq}", incident.key_id, "restore"), at_ms=at_ms,
        incident_id=incident.incident_id, key_id=incident.key_id, step="restore", automatic=False, reversible=True,
        mode="auto", by=by, reason=reason, facts=incident.facts,
    )  # fmt: skip


def _automatic(incident: Incident, choice: Choice, at_ms: int) -> Command:
    assert choice.step is not None  # noqa: S101 - the caller checked
    return Command(
        command_id=Command.id_of(incident.incident_id, incident.key_id, choice.step), at_ms=at_ms,
        incident_id=incident.incident_id, key_id=incident.key_id, step=choice.step, automatic=choice.automatic,
        reversible=choice.reversible, mode=choice.mode, by="keyfuse", reason=choice.reason, facts=incident.facts,
    )  # fmt: skip


def _waiting(incident: Incident) -> Step | None:
    return next((step.step for step in incident.steps if step.state == StepState.AWAITING_APPROVAL), None)


def _approvals(case: KeyCase, step: Step) -> set[str]:
    """Who has already approved this rung: a second person's word adds to the first."""
    incident = case.incident
    if incident is None:
        return set()
    return {s.by for s in incident.steps if s.step == step and s.by != "keyfuse"}
