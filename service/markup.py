"""HTML from Python, safe by construction: text is escaped, unless it was made here. Pure."""

from __future__ import annotations

from html import escape
from typing import Final

_EMPTY: Final = frozenset({"meta", "img", "br", "line", "rect", "circle"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Part = str | int | Markup


def el(name: str, /, *parts: Part, **attributes: str | int | float | None) -> Markup:
    """One element. A trailing underscore of an attribute's name is dropped, others become dashes; None leaves it out.

    >>> el("p", "1 < 2 ", el("b", "yes"), class_="x", data_at='"quoted"')
    '<p class="x" data-at="&quot;quoted&quot;">1 &lt; 2 <b>yes</b></p>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{joined(*parts)}</{name}>")


def joined(*parts: Part) -> Markup:
    """Parts one after the other; what is not markup is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))
