"""Verdicts that were kept over a restart, against a topic that is read again from its beginning. Pure.

Of each key and source the record that lies further on in the topic is the newer one, whatever clocks say. Until the
topic was read up to where it was when the verdict was kept, older records say nothing:

    offset     3         7               12              20
    topic      deny      allow           throttle        allow
                                         kept
    read again nothing   nothing         the same        newer: from here on as it comes

A broker that lost everything begins its topic anew, and what it says there is newer, wherever it lies. It shows at the
end: a topic never loses the newest record of a key, so one in which neither the kept nor a newer one lies is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schemas.verdict import HARDNESS, GateVerdict


class Place(NamedTuple):
    """Where a record lies in its topic."""

    partition: int
    offset: int


class Said(NamedTuple):
    """A verdict, and where it was read; None: it was not read from the topic."""

    verdict: GateVerdict
    place: Place | None = None

    @property
    def hardness(self) -> int:
        return HARDNESS.index(self.verdict.state)

    @property
    def name(self) -> tuple[str, str]:
        """Whose: the key, and who says it."""
        return self.verdict.key_id, self.verdict.source


class Kept:
    """What was kept, until the topic has said as much again."""

    def __init__(self, kept: Iterable[Said] = ()) -> None:
        self._kept = {said.name: said for said in kept}
        self._waiting: dict[tuple[str, str], Said] = {}

    def outlasts(self, said: Said) -> bool:
        """Whether what was kept goes on to hold, for the record is older.

        One that is harder and was issued later is not put off until it is known whether the topic is another one: at
        worst a key is refused until its kept record comes.
        """
        kept = self._kept.get(said.name)
        if kept is None:
            return False
        if not _lies_before(said.place, kept.place):
            del self._kept[said.name]
            self._waiting.pop(said.name, None)
            return False
        if said.hardness > kept.hardness and said.verdict.at_ms > kept.verdict.at_ms:
            self._waiting.pop(said.name, None)
            return False
        self._waiting[said.name] = said
        return True

    def end(self) -> list[Said]:
        """All that was there at the start is read: what was put off and holds after all. No more is put off."""
        holds = list(self._waiting.values())
        self._kept.clear()
        self._waiting.clear()
        return holds


def _lies_before(one: Place | None, other: Place | None) -> bool:
    """In the same partition: of two partitions nobody knows."""
    return one is not None and other is not None and one.partition == other.partition and one.offset < other.offset
