"""An incident as a Slack message. Pure."""

from __future__ import annotations

from alerting.channels.slack_buttons import answers_to
from alerting.channels.slack_text import HEADER_MAX, Block, cut, escape, mrkdwn, sections
from alerting.message import message
from alerting.runbook import RUNBOOKS, as_link
from alerting.words import clean
from schemas.records import Incident


def render(incident: Incident, runbooks: str = RUNBOOKS, *, buttons: str = "") -> tuple[str, list[Block]]:
    """The text for notifications and the blocks of the message.

    Everything that comes from outside is escaped and shown verbatim: a key called `<!channel>` calls nobody.

    Args:
        incident: The version to show.
        runbooks: `runbook_url` of `routes.yaml`.
        buttons: The timezone of "until tomorrow"; empty: nobody hears what is pressed, so there are no buttons.
    """
    content = message(incident, runbooks)
    fields = [mrkdwn(f"*{label}*\n{_value(value, page=content.runbook)}") for label, value in content.facts]
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(escape(content.title), HEADER_MAX)}},
        *sections([f"*{escape(content.headline)}*"]),
        {"type": "section", "fields": fields},
        *sections(f"*{family}*: {escape(sentence)}" for family, sentence in content.reasons),
        *sections(f"• {escape(step)}" for step in content.steps),
        {"type": "context", "elements": [mrkdwn(escape(content.latest))]},
        *(answers_to(incident, timezone=buttons) if buttons else []),
    ]
    return escape(f"{content.title}: {content.headline}"), blocks


def render_reply(incident: Incident) -> tuple[str, list[Block]]:
    """What just happened, for the thread under the message."""
    text = escape(clean(incident.transition, 500))
    return text, sections([text])


def _value(value: str, *, page: str) -> str:
    """Only our own page is a link; it comes from the configuration, which lets no `<`, `>` or `|` in."""
    link = as_link(value) if value == page else None
    return f"<{link.replace('&', '&amp;')}|{link.rsplit('/', 1)[-1] or 'runbook'}>" if link else escape(value)
