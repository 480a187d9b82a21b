"""Text as Slack takes it: escaped, cut to its limits, in its objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Block = dict[str, Any]
HEADER_MAX: Final = 150  # Slack's limits, in characters
SECTION_MAX: Final = 3000
LABEL_MAX: Final = 75  # of a button, an option and its description
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str) -> str:
    """Slack's three control characters; no star or backtick can start a format.

    >>> escape("<!channel> & *co*")
    '&lt;!channel&gt; &amp; ∗co∗'
    """
    for char, entity in _ENTITIES.items():
        text = text.replace(char, entity)
    return text.replace("*", "∗").replace("`", "'").replace("~", "∼")


def cut(text: str, limit: int) -> str:
    """At most so many characters; never half of what `escape` made.

    >>> cut("a &amp; b", 5), cut("abc", 3)
    ('a …', 'abc')
    """
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    start = kept.rfind("&")
    if start >= 0 and ";" not in kept[start:]:
        kept = kept[:start]
    return kept + "…"


def mrkdwn(text: str) -> Block:
    """Formatted text, verbatim: Slack must not turn names and addresses in foreign text into links and mentions."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain(text: str, limit: int = LABEL_MAX) -> Block:
    """Text without any format; foreign text in it is escaped here."""
    return {"type": "plain_text", "text": cut(escape(text), limit), "emoji": False}


def sections(lines: Iterable[str]) -> list[Block]:
    """Escaped lines in as few sections as Slack's length limit allows."""
    packed: list[str] = []
    for line in lines:
        if packed and len(packed[-1]) + 1 + len(line) <= SECTION_MAX:
            packed[-1] += f"\n{line}"
        else:
            packed.append(cut(line, SECTION_MAX))
    return [{"type": "section", "text": mrkdwn(text)} for text in packed]
