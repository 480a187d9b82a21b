"""What the decide stage and `keyfuse replay` share: one message about one key in, the new case and its effects out.

Pure. Alerting knows incidents, containment knows the ladder; this is the one place where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from alerting.answered import on_request, word_mark
from alerting.budgets import NO_KEY
from alerting.case import REPEAT, Change, KeyCase, case_of, hear
from alerting.incidents import on_finding
from alerting.silence import on_registered, on_silence
from alerting.steps import can_be_restored, on_command, on_outcome
from containment.ladder import approvals_needed, approved, choose
from containment.orders import FREEZES
from containment.providers.base import StepsOf, StepSpec, reversibility
from controls.people import NOBODY, People
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.records import (
    CERTAIN,
    CLOSED,
    GATE_PREFIX,
    OF_NO_KEY,
    SCOPE_PREFIX,
    TOLD,
    AuditRow,
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
from streams.orders import Asked, asked_for, automatic, given_back, marks_of, persons, restore, word_row

Offered = Callable[[str, KeyFacts], Mapping[Step, StepSpec]]
"""What can be done with a key, by its key_id and what is known of it."""
# A provider nobody configured: its usual rung is ordered all the same. In observe mode that says what would be done;
# in auto it ends irrevocable, and a person is paged to cut the key by hand.
UNCONFIGURED: Final[Mapping[Step, StepSpec]] = {"disable": StepSpec(True, "key", 0, "The key is refused.")}
_OF_NO_KEY: Final = frozenset({"acknowledge", "snooze", "resolve"})
"""What people can say of an incident that is about no single key."""
NO_GATE: Final = "this is about a gate, and ends by itself: when the gate reports again, or after a day"
NO_SINGLE_KEY: Final = "this is about many keys: `keyfuse keys` shows them, and each can be cut by its own name"
_STATE_OF = {"run": StepState.REQUESTED, "await_approval": StepState.AWAITING_APPROVAL, "dry_run": StepState.REQUESTED}


def offers(providers: Mapping[str, StepsOf]) -> Offered:
    """What the configured providers can do with each key. One that knows no such key is as good as none."""

    def offered(key_id: str, facts: KeyFacts) -> Mapping[Step, StepSpec]:
        steps_of = providers.get(facts.provider)
        return (steps_of(facts.provider_ref or key_id) if steps_of else {}) or UNCONFIGURED

    return offered


class Decision(NamedTuple):
    """What one message changes: the key's case, new incident versions in order, and what else is to be sent."""

    case: KeyCase | None
    incidents: tuple[Incident, ...] = ()
    commands: tuple[Command, ...] = ()
    reason: str = ""
    marks: tuple[Mark, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    passed_on: Request | None = None  # a freeze or its end, which is the contain stage's to carry out


class Decider:
    """The rules of one install. Holds configuration only; the cases belong to the caller."""

    def __init__(
        self, responses: ResponsesConfig, budgets: BudgetsConfig, offered: Offered, people: People = NOBODY, *,
        registered: Callable[[str], bool] = lambda _key_id: False,
    ) -> None:  # fmt: skip
        self.responses = responses
        self.budgets = budgets
        self._offered = offered
        self._people = people
        self._registered = registered

    def finding(self, case: KeyCase | None, finding: Finding) -> Decision:
        """A finding opens or feeds the key's incident, and may order the next rung."""
        # What others tell comes at the wall clock's time, which ends nothing: event time may be far behind it.
        silent = Decision(case) if finding.family in TOLD else self.silence(case, finding.at_ms)
        change = on_finding(silent.case, finding, responses=self.responses, budgets=self.budgets)
        decision = Decision(change.case, silent.incidents + change.incidents, (), change.reason)
        if change.reason == REPEAT or finding.key_id.startswith(OF_NO_KEY):
            return decision
        return self._climb(decision, finding)

    def outcome(self, case: KeyCase | None, outcome: Outcome, *, at_ms: int) -> Decision:
        """What became of a command."""
        change = on_outcome(case, outcome, at_ms=at_ms)
        decision = _decision(change)
        if change.wants_restore:  # the cut was on its way when a person said that the key is healthy
            return self._order(decision, restore(change.case, at_ms=at_ms, by="keyfuse", reason=change.reason))
        return decision

    def silence(self, case: KeyCase | None, clock_ms: int) -> Decision:
        """An incident without findings for `resolve_after_s` ends, and one of an unknown key when it is registered."""
        if case is None:
            return Decision(None)
        if case.census and case.open and self._registered(case.key_id):
            over = on_registered(case, clock_ms)
            if over.incidents:
                return _decision(over)
        return _decision(on_silence(case, clock_ms, responses=self.responses))

    def request(self, case: KeyCase | None, request: Request) -> Decision:
        """A person's word: heard once, checked against people.yaml, written into the audit whatever becomes of it."""
        if case is not None and word_mark(request) in case.heard:
            return Decision(case, reason=REPEAT)  # its commands went out before the word was remembered
        incident = case.incident if case else None
        if request.key_id.startswith(GATE_PREFIX):
            return Decision(case, reason=NO_GATE, audit=(word_row(request, "refused", NO_GATE),))
        if request.key_id.startswith(OF_NO_KEY) and request.action not in _OF_NO_KEY:
            words = NO_KEY if request.key_id.startswith(SCOPE_PREFIX) else NO_SINGLE_KEY
            return Decision(case, reason=words, audit=(word_row(request, "refused", words),))
        asked = self._asked(case, request) if request.action in ("contain", "approve") else None
        stop = self._people.why_not(
            request.by, request.action, via=request.via, final=isinstance(asked, Asked) and not asked.reversible
        )
        if not stop and request.incident_id and incident and request.incident_id != incident.incident_id:
            stop = f"that incident is over; the key's newest is {incident.incident_id}"
        if stop:
            return Decision(case, reason=stop, audit=(word_row(request, "refused", stop),))
        decision = self._heed(case, request) if asked is None else self._contain(case, request, asked)
        result = "taken" if decision.incidents or decision.commands or decision.passed_on else "no_effect"
        return decision._replace(audit=(word_row(request, result, decision.reason),))

    def _heed(self, case: KeyCase | None, request: Request) -> Decision:
        """Whatever is no order of a step."""
        if request.action in FREEZES:
            return Decision(case, reason=request.action, passed_on=request)
        if request.via == "identity":
            return self._give_back(case, request)
        if case is None or case.incident is None:  # a doubted order of any key leaves a case, and no incident
            return Decision(case, reason="no incident for this key")
        change = on_request(case, request, at_ms=request.at_ms)
        decision = _decision(change)._replace(marks=marks_of(change, request))
        if request.action == "restore" or change.wants_restore:
            reason = request.reason or f"{request.by} asked for it"
            return self._order(decision, restore(change.case, at_ms=request.at_ms, by=request.by, reason=reason))
        return decision

    def _give_back(self, case: KeyCase | None, request: Request) -> Decision:
        """A key whose owner has answered after all. What an incident did to it, the incident's people undo."""
        incident = case.incident if case else None
        if request.facts is None:
            return Decision(case, reason="an unknown key: name its provider")
        if incident is not None and (incident.state not in CLOSED or can_be_restored(incident)):
            return Decision(case, reason=f"incident {incident.incident_id} holds the key: it is restored there")
        heard = hear(case_of(case, request.key_id), word_mark(request))
        return Decision(heard, commands=(given_back(request, request.facts),), reason="undone without an incident")

    def _asked(self, case: KeyCase | None, request: Request) -> Asked | str:
        facts = case.incident.facts if case and case.incident else request.facts
        if facts is None:
            return "an unknown key: name its provider"
        offered = self._offered(request.key_id, facts)
        if request.via == "identity" and offered is UNCONFIGURED:  # that would page people for what no incident is
            return f"nothing can be done to a key of {facts.provider} from here: a person does it there"
        return asked_for(
            case, request, facts, offered,
            patience_s=self.responses.approvals.expire_after_s,
        )  # fmt: skip

    def _contain(self, case: KeyCase | None, request: Request, asked: Asked | str) -> Decision:
        if isinstance(asked, str):
            return Decision(case, reason=asked)
        heard = hear(case_of(case, request.key_id), word_mark(request))
        incident = case.incident if case else None
        quiet = request.via == "identity" and (incident is None or incident.state in CLOSED)
        mode = self.responses.mode_of(request.key_id, asked.facts.env)
        command = persons(asked._replace(incident=None) if quiet else asked, request, mode)
        if quiet and approved(command):  # a key at the end of its life is no incident; a step that fails opens one
            return Decision(heard, commands=(command,), reason="ordered without an incident")
        if approved(command):
            return self._order(Decision(heard), command)
        return self._order(Decision(heard), command, StepState.AWAITING_APPROVAL)

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
        return self._order(decision, automatic(incident, choice, finding.at_ms), _STATE_OF[choice.go])

    def _order(self, decision: Decision, command: Command, state: StepState = StepState.REQUESTED) -> Decision:
        change = on_command(
            decision.case, command, state, at_ms=command.at_ms, people_needed=approvals_needed(command),
            budgets=self.budgets,
        )  # fmt: skip
        return decision._replace(
            case=change.case, incidents=decision.incidents + change.incidents,
            commands=(*decision.commands, command), reason=change.reason,
        )  # fmt: skip


def _decision(change: Change) -> Decision:
    return Decision(change.case, change.incidents, (), change.reason)
