"""One invariant and what was found of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_TOLD: Final = 5
"""Of one kind of mistake; the rest is counted."""


@dataclass(frozen=True)
class Verdict:
    """One invariant: its figures, and what is wrong; nothing when it holds."""

    what: str
    figures: str
    wrong: tuple[str, ...]


def verdict(what: str, figures: str, wrong: Sequence[str]) -> Verdict:
    more = [f"... and {len(wrong) - MOST_TOLD} more"] if len(wrong) > MOST_TOLD else []
    return Verdict(what, figures, (*wrong[:MOST_TOLD], *more))
