"""The forms (Slack's modals) behind buttons and `/keyfuse kill`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from alerting.answers.plans import KillList, PlanWords, StepWords
from alerting.channels.slack_text import LABEL_MAX, Block, escape, mrkdwn, plain, sections
from alerting.words import clean, counted
from schemas.records import EXPECTED_MAX_MS

Form = Literal["contain", "expected", "false_positive", "kill"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
PREFIX: Final = "keyfuse_form_"
REASON_MAX: Final = 500
KILL_MOST: Final = 300  # keys in one list: more cannot be read, and Slack shows no more
METADATA_MAX: Final = 3000
VALUE: Final = "value"  # the action id of each field; its block id tells which it is
_TITLE_MAX: Final = 24
_TITLES: Final[dict[Form, str]] = {
    "contain": "Contain a key", "expected": "Expected use", "false_positive": "False positive", "kill": "Kill keys",
}  # fmt: skip


class Origin(NamedTuple):
    """What a form remembers until it is sent: what it is about, and where to answer. Kept by Slack, signed by Slack."""

    incident_id: str = ""
    channel: str = ""
    response_url: str = ""
    asked: str = ""  # of kill: which keys, as it was typed
    digest: str = ""  # of kill: the list that was shown
    keys: int = 0  # of kill: how many keys would be cut

    def text(self) -> str:
        return json.dumps(list(self))

    @classmethod
    def of(cls, text: str) -> Origin | None:
        """None for what no form of ours remembers."""
        try:
            parts = json.loads(text)
        except ValueError:
            return None
        kinds = [str] * 5 + [int]
        if not isinstance(parts, list) or [type(part) for part in parts] != kinds:
            return None
        return cls(*parts)


def looking(form: Form) -> Block:
    """While the plan is being made: Slack waits three seconds for a form, and no longer."""
    return _view(form, sections(["Looking…"]), Origin(), submit="")


def message_form(form: Form, *lines: str) -> Block:
    """Words instead of a form."""
    return _view(form, sections(escape(line) for line in lines), Origin(), submit="")


def contain_form(origin: Origin, plan: PlanWords) -> Block:
    """The plan, the choice of a step, a reason. To send it is to confirm it."""
    about = [mrkdwn(f"*{escape(clean(label, 40))}*\n{escape(clean(value))}") for label, value in plan.about[:10]]
    blocks: list[Block] = [
        {"type": "section", "fields": about},
        *sections([f"*If nobody does anything*: {escape(plan.next)}", f"*At stake*: {escape(plan.at_stake)}"]),
    ]
    if not plan.steps:
        return _view("contain", [*blocks, *sections([escape(plan.why_none)])], origin, submit="")
    blocks += sections(_step_line(step) for step in plan.steps)
    options = [
        {"text": plain(step.name), "description": plain(_choice(step)), "value": step.step} for step in plan.steps
    ]
    blocks.append(_field("step", "Which step?", {"type": "radio_buttons", "options": options}))
    blocks.append(_reason())
    return _view("contain", blocks, origin, submit="Contain now")


def expected_form(origin: Origin, *, now_ms: int) -> Block:
    """Until when more than usual is expected, and why."""
    soon_s = now_ms // 1000 + 4 * 3600
    picker = {"type": "datetimepicker", "initial_date_time": soon_s - soon_s % 900}
    words = (
        "Closes the incident; what was done to the key is undone where it can be. Until then more use than usual "
        "raises no alarm; new places, models and errors do."
    )
    blocks = [*sections([words]), _field("until", "Until when?", picker), _reason()]
    return _view("expected", blocks, origin, submit="Expect it")


def false_positive_form(origin: Origin) -> Block:
    """Why it was nothing."""
    words = "Closes the incident. What was done to the key is undone where it can be."
    return _view("false_positive", [*sections([words]), _reason()], origin, submit="False positive")


def kill_form(origin: Origin, killed: KillList) -> Block:
    """Every key by name, and a typed word."""
    phrase = f"{origin.keys} kill"
    blocks = [
        *sections([f"*{counted(origin.keys, 'key')} would be cut now:*"]),
        *sections(f"• {escape(line)}" for line in killed.lines),
        _field("typed", f"Type {phrase}", {"type": "plain_text_input", "max_length": 40, "placeholder": plain(phrase)}),
        _reason(),
    ]
    return _view("kill", blocks, origin, submit="Kill")


def until_problem(until_ms: int, *, now_ms: int) -> str:
    """Why this time cannot be meant; empty when it can."""
    if until_ms <= now_ms:
        return "This time is over. Choose one that is to come."
    if until_ms - now_ms > EXPECTED_MAX_MS:
        last = datetime.fromtimestamp((now_ms + EXPECTED_MAX_MS) / 1000, UTC)
        return f"31 days at most: until {last:%Y-%m-%d}."
    return ""


def _step_line(step: StepWords) -> str:
    people = f", {step.people} people must order it" if step.people > 1 else ""
    stands = f"; {escape(clean(step.state, 80))}" if step.state else ""
    hits = f"\n    also hits {escape(clean(step.also_hits, 1000))}" if step.also_hits else ""
    words = f"{escape(clean(step.undo, 200))}{people}{stands}\n    breaks: {escape(clean(step.breaks, 400))}{hits}"
    return f"*{escape(clean(step.name, 80))}*: {words}"


def _choice(step: StepWords) -> str:
    people = f"{step.people} people must order it; " if step.people > 1 else ""
    return f"{people}{step.undo}"[:LABEL_MAX]


def _reason() -> Block:
    field = {"type": "plain_text_input", "multiline": True, "max_length": REASON_MAX}
    return _field("reason", "Why? It goes to the thread and the audit.", field)


def _field(name: str, label: str, element: dict[str, Any]) -> Block:
    return {"type": "input", "block_id": name, "label": plain(label, 2000), "element": {**element, "action_id": VALUE}}


def _view(form: Form, blocks: Iterable[Block], origin: Origin, *, submit: str) -> Block:
    """`submit` empty: there is nothing to send."""
    view: Block = {
        "type": "modal", "callback_id": f"{PREFIX}{form}", "title": plain(_TITLES[form], _TITLE_MAX),
        "close": plain("Close" if not submit else "Cancel", _TITLE_MAX), "blocks": list(blocks)[:100],
        "private_metadata": origin.text(),
    }  # fmt: skip
    return view | ({"submit": plain(submit, _TITLE_MAX)} if submit else {})
