"""An incident's id at the end of a line of text, for services that hand nothing back but that line. Pure."""

from __future__ import annotations

import re
from typing import Final

from alerting.words import clean

_ID: Final = r"(?:inc_|manual:)[A-Za-z0-9_:.\-]{1,200}"
_IS_ID: Final = re.compile(_ID)
_AT_END: Final = re.compile(rf"\[({_ID})\]\s*\Z")


def named(line: str, incident_id: str, limit: int) -> str:
    """The line, cut so that the id still fits behind it.

    >>> named("CRITICAL, open: openai key", "inc_0a1b", 30)
    'CRITICAL, open: op… [inc_0a1b]'
    """
    end = f" [{incident_id}]"
    return clean(line, limit - len(end)) + end


def named_in(line: str) -> str:
    """The id at the end; empty when there is none. What stands before it may be anybody's words.

    >>> named_in("team [inc_of_another] [inc_0a1b]"), named_in("nothing [inc_0a1b] at the end")
    ('inc_0a1b', '')
    """
    found = _AT_END.search(line)
    return found[1] if found else ""


def is_ours(incident_id: str) -> bool:
    """Whether it looks like an incident of Keyfuse at all."""
    return bool(_IS_ID.fullmatch(incident_id))
