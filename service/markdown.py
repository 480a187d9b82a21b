"""Foreign text in Markdown, safe by construction. Pure."""

from __future__ import annotations

import re
from typing import Final

from alerting.words import clean

_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#])")


def md(text: str, limit: int = 500) -> str:
    r"""Foreign text that Markdown leaves as it is.

    >>> md("a *b* <c>\n# d")
    'a \\*b\\* \\<c\\> \\# d'
    """
    return _SPECIAL.sub(r"\\\1", clean(text, limit))


def code(text: str) -> str:
    """Foreign text as code, to be copied as it is.

    >>> code("keyfuse restore a_b")
    '`keyfuse restore a_b`'
    """
    return f"`{clean(text).replace('`', '')}`"
