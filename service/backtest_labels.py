"""Marks as scenarios: what each version makes of every theft and false alarm that people have labelled. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from controls.labels import speaks_of
from detectors.state import Array
from schemas.records import Mark
from service.backtest_side import Told

_SECOND_MS: Final = 1000  # a mark ends with a second in which something was found: its events come within it


class LabelledSide(NamedTuple):
    """What one version makes of a label."""

    told: Told | None  # the first incident that the label speaks of
    lost_usd: float | None  # what the key spent from the label's beginning to the cut, or to its end; None: not known


class Labelled(NamedTuple):
    """One label that the history can try."""

    mark: Mark
    spent_usd: float | None  # what the key spent in its time, its owner's use included; None where nobody knows
    current: LabelledSide
    candidate: LabelledSide

    def kept(self, side: LabelledSide) -> bool:
        """Whether it does right by the label: a theft is told, what was no theft is not."""
        return (side.told is not None) == (self.mark.verdict == "true")

    @property
    def lost(self) -> bool:
        """The candidate gets wrong what the current version gets right."""
        return self.kept(self.current) and not self.kept(self.candidate)


class Ledger:
    """The spend of labelled keys while the history is played."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)
        self._parts: dict[str, list[tuple[Array, Array]]] = {key: [] for key in self._keys}

    def saw(self, rows: pa.RecordBatch) -> None:
        names = rows["key_id"].dictionary.to_pylist()
        for place, name in enumerate(names):
            if name in self._keys:
                mine = rows["key_id"].indices.to_numpy() == place
                self._parts[name].append((rows["ts_ms"].to_numpy()[mine], rows["cost_nano_usd"].to_numpy()[mine]))

    def spent_usd(self, key_id: str, from_ms: int, until_ms: int) -> float:
        """Within [from_ms, until_ms)."""
        nano = sum(int(cost[(at >= from_ms) & (at < until_ms)].sum()) for at, cost in self._parts.get(key_id, []))
        return nano / 1e9

    def used(self, key_id: str, from_ms: int, until_ms: int) -> bool:
        """Whether the key was used within [from_ms, until_ms)."""
        return any(bool(((at >= from_ms) & (at < until_ms)).any()) for at, _ in self._parts.get(key_id, []))


def scenarios(marks: Iterable[Mark]) -> list[Mark]:
    """The marks that say what an alarm of one key was."""
    return [mark for mark in marks if not mark.withdrawn and mark.scope == "key"]


def labelled(
    marks: Iterable[Mark], ours: Sequence[Told], theirs: Sequence[Told], *, from_ms: int, last_ms: int,
    ledger: Ledger | None,
) -> tuple[Labelled, ...]:  # fmt: skip
    """The scenarios of which this history holds something, each with what both versions made of it.

    Without a ledger nobody knows what keys were used for: then all in the judged time are tried, and without money.
    """
    tried = [mark for mark in scenarios(marks) if mark.until_ms >= from_ms and mark.from_ms <= last_ms]
    if ledger is not None:
        tried = [mark for mark in tried if ledger.used(mark.key_id, max(mark.from_ms, from_ms), _end_ms(mark))]
    return tuple(_labelled(mark, ours, theirs, ledger) for mark in tried)


def _labelled(mark: Mark, ours: Sequence[Told], theirs: Sequence[Told], ledger: Ledger | None) -> Labelled:
    spent = ledger.spent_usd(mark.key_id, mark.from_ms, _end_ms(mark)) if ledger else None
    return Labelled(mark, spent, _answer(mark, ours, ledger), _answer(mark, theirs, ledger))


def _answer(mark: Mark, incidents: Sequence[Told], ledger: Ledger | None) -> LabelledSide:
    found = next((told for told in incidents if speaks_of(mark, told.alarm)), None)
    if ledger is None:
        return LabelledSide(found, None)
    cuts = [told.cut.effective_ms for told in incidents if told.cut and speaks_of(mark, told.alarm)]
    end_ms = min([_end_ms(mark), *cuts])
    return LabelledSide(found, ledger.spent_usd(mark.key_id, mark.from_ms, end_ms))


def _end_ms(mark: Mark) -> int:
    return mark.until_ms + _SECOND_MS
