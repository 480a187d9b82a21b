"""What is known of where a key was found: kept small, said in one sentence, weighed for the ladder. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.records import Leak

_KEPT: Final = 5
_URL_SHOWN: Final = 160


def remembered(known: Iterable[Leak], new: Leak) -> tuple[Leak, ...]:
    """The places with one more, what is proved first; a second word on a place that is shown stands in for the first.

    >>> guess = Leak(source="paste", url="https://p/1", told_at_ms=1)
    >>> [leak.verified for leak in remembered([guess], guess.model_copy(update={"verified": True}))]
    [True]
    """
    others = [leak for leak in known if (leak.source, leak.url) != (new.source, new.url)]
    return tuple(sorted([*others, new], key=lambda leak: not leak.verified)[:_KEPT])


def leak_words(leak: Leak) -> str:
    """Where it was found and who says so.

    >>> leak_words(Leak(source="github commit", url="https://g/1", by="github", verified=True, told_at_ms=1))
    'found in github commit at https://g/1, reported by github (verified)'
    """
    url = leak.url if len(leak.url) <= _URL_SHOWN else leak.url[: _URL_SHOWN - 1] + "…"
    where = f"found in {leak.source}{f' at {url}' if url else ''}"
    who = f", reported by {leak.by}" if leak.by else ""
    doubt = " (verified)" if leak.verified else " (a guess by its form)" if not leak.counts else ""
    return f"{where}{who}{doubt}"


def leaks_words(leaks: Sequence[Leak]) -> str:
    """The same of several: the first place, and how many more; empty for none."""
    if not leaks:
        return ""
    more = len(leaks) - 1
    return leak_words(leaks[0]) + (f", and in {more} more place{'s' if more > 1 else ''}" if more else "")
