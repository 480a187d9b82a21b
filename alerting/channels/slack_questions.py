"""A question as a Slack message with buttons, kept up to date. Rendering is pure; `ask` makes the calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from alerting.asking import Shown, digest_of
from alerting.channels.errors import Reason, Retryable
from alerting.channels.slack_buttons import PREFIX
from alerting.channels.slack_client import MessageGone, SlackApi
from alerting.channels.slack_text import HEADER_MAX, Block, cut, escape, mrkdwn, plain, sections
from alerting.words import clean
from schemas.question import Choice, Question

ANSWER: Final = f"{PREFIX}answer_"
_FIELD_MAX: Final = 500
_STATES: Final = {"open": "", "answered": "Answered", "withdrawn": "No answer is needed any more"}


def value_of(question_id: str, choice: str) -> str:
    """What a button carries; neither part can hold the bar."""
    return f"{question_id}|{choice}"


def render(question: Question, *, buttons: bool) -> tuple[str, list[Block]]:
    """The text for notifications and the blocks. Everything foreign is escaped.

    Args:
        question: The version to show.
        buttons: Whether somebody hears what is pressed; else the words say how to answer at a terminal.
    """
    title = clean(question.title, 200)
    blocks: list[Block] = [{"type": "header", "text": {**plain(title, HEADER_MAX)}}]
    lines = [f"*{escape(clean(label, 80))}*: {escape(clean(text, _FIELD_MAX))}" for label, text in _lines(question)]
    blocks += sections(lines)
    if question.state == "open" and question.choices:
        if buttons:
            elements = [_button(question, choice) for choice in question.choices]
            blocks.append({"type": "actions", "block_id": "answers", "elements": elements})
        names = "|".join(choice.name for choice in question.choices)
        words = f"Or at a terminal: keyfuse answer {question.question_id} {names}"
        blocks.append({"type": "context", "elements": [mrkdwn(escape(words))]})
    ended = _ended(question)
    return cut(escape(f"{title}{f': {ended}' if ended else ''}"), 1000), blocks


def _lines(question: Question) -> list[tuple[str, str]]:
    lines = list(question.lines.items())
    if question.state == "open":
        to_come = question.steps[len(question.reminders) :]
        lines += [(f"Without an answer, {_time(step.at_ms)}", step.words) for step in to_come]
        if question.deadline_ms is not None:
            lines.append(("Answer until", _time(question.deadline_ms)))
    ended = _ended(question)
    return [*lines, ("Answer", ended)] if ended else lines


def _time(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _ended(question: Question) -> str:
    """Who answered what, and what came of it; empty while it is open."""
    if question.state == "open":
        return ""
    choice = question.choice(question.answer)
    by = f" by {question.answered_by}: {choice.label if choice else question.answer}" if question.answered_by else ""
    return f"{_STATES[question.state]}{by}{f'. {question.outcome}' if question.outcome else ''}"


def _button(question: Question, choice: Choice) -> Block:
    button: Block = {
        "type": "button", "action_id": f"{ANSWER}{choice.name}", "text": plain(choice.label),
        "value": value_of(question.question_id, choice.name),
    }  # fmt: skip
    if choice.style:
        button["style"] = choice.style
    if choice.style == "danger":
        button["confirm"] = {
            "title": plain("Sure?"), "text": plain(f"{choice.label}: {question.title}", 300),
            "confirm": plain(choice.label, 30), "deny": plain("Not now", 30), "style": "danger",
        }  # fmt: skip
    return button


async def ask(api: SlackApi, target: str, question: Question, previous: Shown | None, *, buttons: bool) -> Shown:
    """Post the message, or edit it and say a reminder under it: one try. Raises Retryable or Refused."""
    if previous is None or not previous.ids.get("ts"):
        return await _post(api, target, question, buttons=buttons)
    text, blocks = render(question, buttons=buttons)
    channel, ts, client = previous.ids["channel"], previous.ids["ts"], api.client
    try:
        await api.call(
            client.chat_update(channel=channel, ts=ts, text=text, blocks=blocks, metadata=_metadata(question))
        )
        if previous.reminded < len(question.reminders):  # only a thread's reply makes a sound, an edit does not
            words = escape(clean(question.reminders[-1].words, 1000))
            await api.call(
                client.chat_postMessage(
                    channel=channel, thread_ts=ts, text=words, blocks=sections([words]), metadata=_metadata(question),
                    unfurl_links=False, unfurl_media=False,
                )
            )  # fmt: skip
    except MessageGone:
        return await _post(api, target, question, buttons=buttons)
    return _shown(question, previous.ids)


async def _post(api: SlackApi, target: str, question: Question, *, buttons: bool) -> Shown:
    text, blocks = render(question, buttons=buttons)
    try:
        answer = await api.call(
            api.client.chat_postMessage(
                channel=target, text=text, blocks=blocks, metadata=_metadata(question), unfurl_links=False,
                unfurl_media=False,
            )
        )  # fmt: skip
    except MessageGone:
        raise Retryable(api.name, Reason.BAD_ANSWER, "Slack took a new message for an old one") from None
    ts, channel = answer.get("ts"), answer.get("channel")
    if not isinstance(ts, str) or not isinstance(channel, str):
        raise Retryable(api.name, Reason.BAD_ANSWER, "Slack did not say which message it posted")
    return _shown(question, {"ts": ts, "channel": channel})  # of a direct message Slack names the conversation


def _shown(question: Question, ids: dict[str, str]) -> Shown:
    return Shown(digest=digest_of(question), reminded=len(question.reminders), ids=ids)


def _metadata(question: Question) -> dict[str, Any]:
    return {"event_type": "keyfuse_question", "event_payload": {"question_id": question.question_id}}
