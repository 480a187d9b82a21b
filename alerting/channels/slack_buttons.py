"""What a person can answer to an incident's message: buttons, by its state. Pure.

A value names the incident by its opaque id, and says what is meant; never a key. Whether it counts is decided when it
is pressed, from the incident as it is then and the role of who presses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple, get_args

from alerting.channels.slack_text import Block, escape, mrkdwn, plain
from alerting.steps import can_be_restored, waiting
from alerting.words import STEP_WORDS, clean
from schemas.records import CLOSED, GATE_PREFIX, Incident, IncidentStep

Button = Literal[
    "acknowledge", "contain", "snooze", "expected", "false_positive", "resolve", "restore", "approve", "reject"
]
BUTTONS: Final[tuple[Button, ...]] = get_args(Button)
PREFIX: Final = "keyfuse_"
_VALUE: Final = re.compile(r"([^|]+)\|([0-9]{1,9})\|([^|]*)")
MORNING: Final = "9am "  # and the timezone
_LABELS: Final[dict[Button, str]] = {
    "acknowledge": "Acknowledge", "contain": "Contain…", "snooze": "Snooze…", "expected": "Expected until…",
    "false_positive": "False positive…", "resolve": "Resolve", "restore": "Restore", "approve": "Approve",
    "reject": "Reject",
}  # fmt: skip


class Value(NamedTuple):
    """What a button carries."""

    incident_id: str
    seq: int  # the version that was seen
    what: str = ""  # a step, or how long to snooze

    def text(self) -> str:
        return f"{self.incident_id}|{self.seq}|{self.what}"

    @classmethod
    def of(cls, text: str) -> Value | None:
        """None for what no button of ours carries.

        >>> Value.of("inc_1|7|30m"), Value.of("inc_1|x|"), Value.of("|1|")
        (Value(incident_id='inc_1', seq=7, what='30m'), None, None)
        """
        found = _VALUE.fullmatch(text)
        return cls(found[1], int(found[2]), found[3]) if found else None


def answers_to(incident: Incident, *, timezone: str) -> list[Block]:
    """The blocks under the message; none where there is nothing to answer."""
    blocks: list[Block] = []
    for step in waiting(incident) if incident.state not in CLOSED else ():
        blocks += _approval(incident, step)
    elements = [_element(incident, button, timezone) for button in _by_state(incident)]
    if elements:
        blocks.append({"type": "actions", "block_id": f"answers-{incident.seq}", "elements": elements})
    return blocks


def _by_state(incident: Incident) -> Iterator[Button]:
    if incident.state in CLOSED:
        if can_be_restored(incident):
            yield "restore"
        return
    if incident.state == "contained":
        if can_be_restored(incident):
            yield "restore"
        yield from ("resolve", "false_positive")
        return
    if incident.key_id.startswith(GATE_PREFIX):  # it ends by itself
        return
    yield "acknowledge" if incident.state == "open" else "resolve"
    if incident.of_no_key:
        yield "snooze"
        return
    yield from ("contain", "snooze", "expected", "false_positive")


def _approval(incident: Incident, step: IncidentStep) -> Iterator[Block]:
    """What waits, who stands behind it, and the two answers."""
    who, needed = step.approvals, max(1, step.people_needed)
    undo = "can be undone" if step.reversible else "CANNOT BE UNDONE"
    names = f": {escape(clean(', '.join(who), 200))}" if who else ""
    words = f"Waits for approval: *{STEP_WORDS[step.step]}* ({undo}). {len(who)} of {needed}{names}"
    yield {"type": "section", "text": mrkdwn(words)}
    value = Value(incident.incident_id, incident.seq, step.step)
    sure = _confirm("Approve?", f"{STEP_WORDS[step.step].capitalize()}: {undo}.", yes="Approve")
    yes = _button("approve", value, style="primary" if step.reversible else "danger", confirm=sure)
    elements = [yes, _button("reject", value)]
    yield {"type": "actions", "block_id": f"approval-{incident.seq}-{step.step}", "elements": elements}


def _element(incident: Incident, button: Button, timezone: str) -> Block:
    value = Value(incident.incident_id, incident.seq)
    if button == "snooze":
        spans = {"30m": "30 min", "2h": "2 h", f"{MORNING}{timezone}": f"until tomorrow 9:00 ({timezone})"}
        options = [{"text": plain(words), "value": value._replace(what=what).text()} for what, words in spans.items()]
        return {
            "type": "static_select", "action_id": f"{PREFIX}snooze", "placeholder": plain(_LABELS["snooze"]),
            "options": options,
        }  # fmt: skip
    if button == "restore":
        return _button(button, value, style="danger", confirm=_confirm(
            "Restore?", "The key works again, for whoever holds it.", yes="Restore"
        ))  # fmt: skip
    if button == "contain":
        return _button(button, value, style="danger")
    return _button(button, value)


def _button(button: Button, value: Value, **more: Any) -> Block:  # noqa: ANN401 - Slack's own fields
    return {
        "type": "button", "action_id": f"{PREFIX}{button}", "text": plain(_LABELS[button]), "value": value.text(),
        **more,
    }  # fmt: skip


def _confirm(title: str, text: str, *, yes: str) -> Block:
    return {
        "title": plain(title, 100), "text": plain(text, 300), "confirm": plain(yes, 30), "deny": plain("Not now", 30),
        "style": "danger",
    }  # fmt: skip
