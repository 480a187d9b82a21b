"""What Slack sends when somebody clicks, sends a form or types `/keyfuse`: from its JSON to what was meant. Pure.

Nothing in it is trusted but who it was, which Slack proves. What has another shape than ours is refused in words.
Ids of what was said come from Slack's own, so that the same click that comes twice is one word.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, NamedTuple, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerting.answers.desk import Said
from alerting.answers.questions import Reply
from alerting.answers.slack_forms import FORMS, PREFIX, VALUE, Form, Origin, until_problem
from alerting.channels.slack_buttons import BUTTONS, MORNING, Value
from alerting.channels.slack_buttons import PREFIX as BUTTON_PREFIX
from alerting.channels.slack_questions import ANSWER
from controls.people import Person
from schemas.records import PeoplesAction, Step, stable_id

_SNOOZE_MS: Final = {"30m": 30 * 60_000, "2h": 2 * 3_600_000}
_NINE: Final = time(9)
_OLD: Final = ": it may be of another version. Use the newest message."
_STEPS: Final[frozenset[str]] = frozenset(get_args(Step)) - {"notify", "restore"}


class Place(NamedTuple):
    """Who spoke and where they can be answered."""

    user: str
    channel: str = ""
    message_ts: str = ""
    response_url: str = ""
    trigger_id: str = ""


class Word(NamedTuple):
    """Something for the desk."""

    said: Said
    place: Place
    seen: int = 0  # the version of the incident that was pressed; 0: not known


class Replied(NamedTuple):
    """An answer to a question."""

    reply: Reply
    place: Place


class Opening(NamedTuple):
    """A form is wanted."""

    form: Form
    said: Said  # what it would come to; to ask beforehand whether it could count
    place: Place
    seen: int


class Typed(NamedTuple):
    """`/keyfuse` and what follows it."""

    text: str
    person: Person | None
    place: Place


class KillWord(NamedTuple):
    """The emergency switch was confirmed."""

    said_id: str
    person: Person | None
    typed: str
    reason: str
    origin: Origin
    place: Place


class Wrong(NamedTuple):
    """A form with a field that cannot be meant: shown beside it."""

    errors: dict[str, str]


class Unclear(NamedTuple):
    """Nothing that Keyfuse knows. `place` is None where there is nobody to be told."""

    words: str
    place: Place | None = None


Heard = Word | Replied | Opening | Typed | KillWord | Wrong | Unclear
OfSlack = Callable[[str], Person | None]


def heard(doc: Any, *, people: OfSlack, now_ms: int) -> Heard | None:  # noqa: ANN401 - JSON of others
    """What was meant. None where nothing is: a form that was closed.

    Args:
        doc: An interaction's payload, or a slash command's fields.
        people: Who a member id is.
        now_ms: Wall clock; only to see whether a chosen time is still to come.
    """
    user = _text(doc, "user_id") or _text(doc, "user", "id")
    if not user:
        return Unclear("This does not say who sent it.")
    kind = _text(doc, "type")
    if _text(doc, "command"):
        return _command(doc, user, people)
    if kind == "block_actions":
        return _click(doc, user, people)
    if kind == "view_submission":
        return _form(doc, user, people, now_ms)
    return None if kind == "view_closed" else Unclear("Keyfuse does not know this kind of answer.", _place(doc, user))


def _command(doc: Any, user: str, people: OfSlack) -> Heard:  # noqa: ANN401 - JSON of others
    place = Place(user, _text(doc, "channel_id"), "", _text(doc, "response_url"), _text(doc, "trigger_id"))
    return Typed(_text(doc, "text"), people(user), place)


def _click(doc: Any, user: str, people: OfSlack) -> Heard | None:  # noqa: ANN401 - JSON of others
    if _text(doc, "container", "type") == "view":
        return None  # a choice inside one of our forms: it counts when the form is sent
    place, action = _place(doc, user), _at(doc, "actions", 0)
    replied = _text(action, "action_id").startswith(ANSWER)
    return _reply(action, place, people) if replied else _pressed(action, place, people)


def _pressed(action: Any, place: Place, people: OfSlack) -> Heard:  # noqa: ANN401 - JSON of others
    user = place.user
    name, at = _text(action, "action_id").removeprefix(BUTTON_PREFIX), _text(action, "action_ts")
    value = Value.of(_text(action, "value") or _text(action, "selected_option", "value"))
    if name not in BUTTONS or value is None or not at:
        return Unclear(f"Keyfuse does not know this button{_OLD}", place)
    said_id = stable_id("slk", user, place.channel, place.message_ts, name, value.text(), at)
    said = Said(said_id, "slack", user, people(user), name, value.incident_id)
    match name:
        case "contain" | "expected" | "false_positive":
            return Opening(name, said, place, value.seq)
        case "snooze":
            until_ms = _until_ms(value.what, at)
            word = Word(said._replace(until_ms=until_ms), place, value.seq)
            return word if until_ms else Unclear(f"No such time{_OLD}", place)
        case "approve" | "reject":
            step = _step(value.what)
            word = Word(said._replace(step=step), place, value.seq)
            return word if step else Unclear(f"No such step{_OLD}", place)
        case _:
            return Word(said, place, value.seq)


def _reply(action: Any, place: Place, people: OfSlack) -> Heard:  # noqa: ANN401 - JSON of others
    question_id, _, choice = _text(action, "value").partition("|")
    if not question_id or choice != _text(action, "action_id").removeprefix(ANSWER):
        return Unclear(f"Keyfuse does not know this button{_OLD}", place)
    return Replied(Reply(question_id, choice, "slack", place.user, people(place.user)), place)


def _form(doc: Any, user: str, people: OfSlack, now_ms: int) -> Heard:  # noqa: ANN401 - JSON of others
    view = _at(doc, "view")
    name = _text(view, "callback_id").removeprefix(PREFIX)
    origin = Origin.of(_text(view, "private_metadata"))
    if name not in FORMS or origin is None or not _text(view, "id"):
        return Unclear("Keyfuse does not know this form: it may be of another version.", Place(user))
    place = Place(user, origin.channel, "", origin.response_url, _text(doc, "trigger_id"))
    reason, said_id = _field(view, "reason"), stable_id("slk", user, _text(view, "id"))
    if name == "kill":
        return KillWord(said_id, people(user), _field(view, "typed"), reason, origin, place)
    action = cast("PeoplesAction", name)
    said = Said(said_id, "slack", user, people(user), action, origin.incident_id, reason=reason)
    if action == "contain":
        step = _step(_text(view, "state", "values", "step", VALUE, "selected_option", "value"))
        return Word(said._replace(step=step), place) if step else Wrong({"step": "Choose a step."})
    if action == "expected":
        chosen = _at(view, "state", "values", "until", VALUE, "selected_date_time")
        until_ms = chosen * 1000 if type(chosen) is int else 0
        problem = until_problem(until_ms, now_ms=now_ms)
        return Wrong({"until": problem}) if problem else Word(said._replace(until_ms=until_ms), place)
    return Word(said, place)


def _step(name: str) -> Step | None:
    """A step that cuts; None for anything else."""
    return cast("Step", name) if name in _STEPS else None


def _until_ms(span: str, action_ts: str) -> int | None:
    """From the moment of the click, which a repeat has too. None for what is no time."""
    try:
        pressed_ms = int(float(action_ts) * 1000)
        pressed = datetime.fromtimestamp(pressed_ms / 1000, UTC)
        if span in _SNOOZE_MS:
            return pressed_ms + _SNOOZE_MS[span]
        if not span.startswith(MORNING):
            return None
        zone = ZoneInfo(span.removeprefix(MORNING))
        tomorrow = pressed.astimezone(zone).date() + timedelta(days=1)
        return int(datetime.combine(tomorrow, _NINE, zone).timestamp() * 1000)
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return None


def _place(doc: Any, user: str) -> Place:  # noqa: ANN401 - JSON of others
    return Place(
        user, _text(doc, "channel", "id") or _text(doc, "container", "channel_id"),
        _text(doc, "container", "message_ts") or _text(doc, "message", "ts"),
        _text(doc, "response_url"), _text(doc, "trigger_id"),
    )  # fmt: skip


def _field(view: Any, name: str) -> str:  # noqa: ANN401 - JSON of others
    return _text(view, "state", "values", name, VALUE, "value").strip()


def _text(doc: Any, *path: str | int) -> str:  # noqa: ANN401 - JSON of others
    """The text at a path; empty for anything else."""
    found = _at(doc, *path)
    return found[:4000] if isinstance(found, str) else ""


def _at(doc: Any, *path: str | int) -> Any:  # noqa: ANN401 - JSON of others
    """What stands at a path; None where nothing does."""
    for part in path:
        if isinstance(part, int):
            doc = doc[part] if isinstance(doc, list) and len(doc) > part else None
        else:
            doc = doc.get(part) if isinstance(doc, dict) else None
    return doc
