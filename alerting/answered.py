"""What a person's word does to an incident: acknowledge, snooze, expected, resolve, false positive, reject. Pure.

What changes the key itself (contain, approve, restore) is the ladder's; see `streams/decide_core.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from alerting.case import REPEAT, Change, KeyCase, case_of, closed, hear, mark, version, with_waiting
from alerting.steps import CUTS, GIVEN_BACK, UNDOABLE, pending, still_cut_words
from alerting.words import INCIDENT_WORDS, span
from schemas.records import CLOSED, EXPECTED_MAX_MS, Incident, PeoplesAction, Request, StepState, rfc3339

SNOOZE_MAX_MS: Final = 7 * 86_400_000
_NOT_TRIED: Final = "no_provider"  # the rule that a failed step's detail begins with


def on_request(case: KeyCase | None, request: Request, *, at_ms: int) -> Change:
    """A person spoke. A word that came before changes nothing."""
    before = case_of(case, request.key_id)
    name = word_mark(request)
    if name in before.heard:
        return Change(before, (), REPEAT)
    heard, incident = hear(before, name), before.incident
    act = _ACTS.get(request.action)
    if act is None:
        return Change(heard, (), f"{request.action} does not change the incident by itself")
    if incident is None:
        return Change(heard, (), "no incident for this key")
    return act(heard, incident, request, at_ms)


def word_mark(request: Request) -> str:
    """How a case remembers one word of a person."""
    return mark("request", request.request_id)


def _false_positive(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    """Also for an incident that resolved itself: the person may look only in the morning, and the key is still cut."""
    if incident.state == "false_positive":
        return Change(case, (), "the incident is already a false positive")
    words = f"{request.by} says this is a false positive{_because(request)}.{_given_back(incident)}"
    harmless = incident.model_copy(update={"state": "false_positive"})
    change = closed(case, harmless, at_ms=at_ms, by=request.by, transition=words)
    return change._replace(wants_restore=bool(_to_undo(incident)))


def _expected(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    """The use is right, for a time: closed and given back; the mark that goes with it moves the thresholds."""
    if incident.state == "false_positive":
        return Change(case, (), "the incident is already a false positive")
    why_not = _bad_time(request, at_ms, EXPECTED_MAX_MS)
    if why_not:
        return Change(case, (), why_not)
    words = (
        f"{request.by} expects this use until {_time(request.until_ms)}{_because(request)}. Until then only what goes "
        f"far beyond it is told; limits hold as ever.{_given_back(incident)}"
    )
    change = closed(
        case, incident.model_copy(update={"state": "resolved"}), at_ms=at_ms, by=request.by, transition=words
    )
    return change._replace(wants_restore=bool(_to_undo(incident)))


def _resolve(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    if incident.state in CLOSED:
        return Change(case, (), f"the incident is already {INCIDENT_WORDS[incident.state]}")
    words = f"Resolved by {request.by}{_because(request)}.{still_cut_words(incident)}"
    resolved = incident.model_copy(update={"state": "resolved"})
    return closed(case, resolved, at_ms=at_ms, by=request.by, transition=words)


def _acknowledge(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    if incident.state != "open":
        return Change(case, (), f"the incident is already {INCIDENT_WORDS[incident.state]}")
    taken = incident.model_copy(update={"state": "acknowledged"})
    words = f"{request.by} is looking into it{_because(request)}."
    return version(case, taken, at_ms=at_ms, by=request.by, transition=words)


def _snooze(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    """Acknowledged for a time: nobody is woken until then, unless it gets worse."""
    if incident.state not in ("open", "acknowledged"):
        return Change(case, (), f"the incident is {INCIDENT_WORDS[incident.state]}, there is nothing to snooze")
    why_not = _bad_time(request, at_ms, SNOOZE_MAX_MS)
    if why_not:
        return Change(case, (), why_not)
    snoozed = incident.model_copy(update={"state": "acknowledged", "snoozed_until_ms": request.until_ms})
    words = (
        f"{request.by} snoozed it until {_time(request.until_ms)}{_because(request)}. People are told again then, and "
        "before that if it gets worse."
    )
    return version(case, snoozed, at_ms=at_ms, by=request.by, transition=words)


def _reject(case: KeyCase, incident: Incident, request: Request, at_ms: int) -> Change:
    waiting = pending(incident)
    if not waiting or (request.step and request.step not in waiting):
        return Change(case, (), f"{request.step or 'nothing'} waits for an approval")
    steps = with_waiting(incident, StepState.REJECTED, f"by {request.by}{_because(request)}")
    words = (
        f"{request.by} says no to {', '.join(waiting)}{_because(request)}. It is not ordered again by itself in this "
        "incident."
    )
    return version(case, incident.model_copy(update={"steps": steps}), at_ms=at_ms, by=request.by, transition=words)


_Act = Callable[[KeyCase, Incident, Request, int], Change]
_ACTS: Final[Mapping[PeoplesAction, _Act]] = {
    "acknowledge": _acknowledge, "snooze": _snooze, "expected": _expected, "resolve": _resolve,
    "false_positive": _false_positive, "reject": _reject,
}  # fmt: skip


def _to_undo(incident: Incident) -> list[str]:
    """What holds, or may: a step that failed may have happened, unless there was nobody to ask."""
    return [
        step.step
        for step in incident.steps
        if (step.state == StepState.CONFIRMED and step.step in GIVEN_BACK)
        or (step.state == StepState.IRREVOCABLE and step.step in UNDOABLE and not step.detail.startswith(_NOT_TRIED))
    ]


def _given_back(incident: Incident) -> str:
    """What becomes of a key that is cut and should not be."""
    undo, words = _to_undo(incident), ""
    if undo:
        words += f" The key is given back: {', '.join(undo)} will be undone."
    if any(step.state == StepState.CONFIRMED and step.step in CUTS and not step.reversible for step in incident.steps):
        words += " A step cannot be undone: the owner needs a new key."
    return words


def _bad_time(request: Request, at_ms: int, most_ms: int) -> str:
    """Why the end it names is none; empty when it is one."""
    if request.until_ms is None or request.until_ms <= at_ms:
        return f"{request.action} needs a time to come"
    if request.until_ms - at_ms > most_ms:
        return f"{request.action} lasts {span(most_ms / 1000)} at most"
    return ""


def _time(at_ms: int | None) -> str:
    return f"{rfc3339(at_ms or 0)[:16].replace('T', ' ')} UTC"


def _because(request: Request) -> str:
    return f": {request.reason.rstrip('.')}" if request.reason else ""
