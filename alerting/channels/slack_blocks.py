"""An incident as a Slack message. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from alerting.message import message
from alerting.runbook import RUNBOOKS, as_link
from alerting.words import clean
from schemas.records import Incident

Block = dict[str, Any]
_HEADER_MAX: Final = 150  # Slack's limits, in characters
_SECTION_MAX: Final = 3000


def render(incident: Incident, runbooks: str = RUNBOOKS) -> tuple[str, list[Block]]:
    """The text for notifications and the blocks of the message.

    Everything that comes from outside is escaped and shown verbatim: a key called `<!channel>` calls nobody.
    """
    content = message(incident, runbooks)
    fields = [_mrkdwn(f"*{label}*\n{_value(value, page=content.runbook)}") for label, value in content.facts]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(escape(content.title), _HEADER_MAX)}},
        *_sections([f"*{escape(content.headline)}*"]),
        {"type": "section", "fields": fields},
        *_sections(f"*{family}*: {escape(sentence)}" for family, sentence in content.reasons),
        *_sections(f"• {escape(step)}" for step in content.steps),
        {"type": "context", "elements": [_mrkdwn(escape(content.latest))]},
    ]
    return escape(f"{content.title}: {content.headline}"), blocks


def render_reply(incident: Incident) -> tuple[str, list[Block]]:
    """What just happened, for the thread under the message."""
    text = escape(clean(incident.transition, 500))
    return text, _sections([text])


def escape(text: str) -> str:
    """Slack's three control characters; no star or backtick can start a format.

    >>> escape("<!channel> & *co*")
    '&lt;!channel&gt; &amp; ∗co∗'
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("*", "∗").replace("`", "'").replace("~", "∼")


def _value(value: str, *, page: str) -> str:
    """Only our own page is a link; it comes from the configuration, which lets no `<`, `>` or `|` in."""
    link = as_link(value) if value == page else None
    return f"<{link.replace('&', '&amp;')}|{link.rsplit('/', 1)[-1] or 'runbook'}>" if link else escape(value)


def _sections(lines: Iterable[str]) -> list[Block]:
    """Lines in as few sections as Slack's length limit allows."""
    packed: list[str] = []
    for line in lines:
        if packed and len(packed[-1]) + 1 + len(line) <= _SECTION_MAX:
            packed[-1] += f"\n{line}"
        else:
            packed.append(line)
    return [{"type": "section", "text": _mrkdwn(text)} for text in packed]


def _mrkdwn(text: str) -> Block:
    # Verbatim: Slack must not turn names and addresses in foreign text into links and mentions.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
