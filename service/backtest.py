"""Two versions of the configuration over the same history, read once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from controls.labels import SLACK_MS, speaks_of
from detectors.beside import Beside, beside
from detectors.core import ScoreCore
from detectors.state import Array
from schemas.config import DetectorsConfig
from schemas.records import Mark, Step
from service.backtest_side import Side, Told
from service.config_tree import Folder
from service.play import feed, new_core, new_cores


class LabelledSide(NamedTuple):
    """What one version makes of a label."""

    told: Told | None  # the first incident that the label speaks of
    lost_usd: float  # of a theft: what the key spent from its beginning to the cut, or to its end


class Labelled(NamedTuple):
    """One label within the history."""

    mark: Mark
    spent_usd: float  # what the key spent in its time, its owner's use included
    current: LabelledSide
    candidate: LabelledSide


@dataclass(frozen=True)
class Backtest:
    """What came out, before it is put into words."""

    current: tuple[Told, ...]
    candidate: tuple[Told, ...]
    gained: tuple[Told, ...]  # incidents of the candidate that the current version does not have
    lost: tuple[Told, ...]
    labels: tuple[Labelled, ...]
    one_core: bool  # learned once and judged twice
    from_ms: int
    last_ms: int
    keys: int
    events: int
    usd: float


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
        """Within [from_ms, until_ms]."""
        nano = sum(int(cost[(at >= from_ms) & (at <= until_ms)].sum()) for at, cost in self._parts.get(key_id, []))
        return nano / 1e9


def backtest(
    current: Folder, candidate: Folder, frames: Iterable[pa.RecordBatch], *,
    offered: Mapping[str, Mapping[Step, bool]], marks: Sequence[Mark], from_ms: int, last_ms: int,
) -> Backtest:  # fmt: skip
    """Play frames, which end at `last_ms`, and compare what both say from `from_ms` on."""
    sides = Side(current, offered, from_ms=from_ms), Side(candidate, offered, from_ms=from_ms)
    labels = [mark for mark in marks if _is_within(mark, from_ms, last_ms)]
    ledger = Ledger(mark.key_id for mark in labels)
    cores = new_cores(current, marks=marks)
    seconds = [_second(core, current, candidate) for core in cores]
    keys, events, nano_usd = set[str](), 0, 0
    for frame in frames:
        for partition, part, told in feed(cores, frame):
            sides[0].take(told)
            sides[1].take(seconds[partition].process(part))
            keys.update(part["key_id"].dictionary.to_pylist())
        ledger.saw(frame)
        events, nano_usd = events + frame.num_rows, nano_usd + int(frame["cost_nano_usd"].to_numpy().sum())
    for core, second in zip(cores, seconds, strict=True):
        sides[0].take(core.advance(last_ms // 1000 + 1))
        sides[1].take(second.advance(last_ms // 1000 + 1))
    ours, theirs = sides[0].incidents(), sides[1].incidents()
    silence_ms = int(1000 * max(side.folder.responses.resolve_after_s for side in sides))
    return Backtest(
        current=tuple(ours), candidate=tuple(theirs), gained=tuple(unmatched(theirs, ours, silence_ms)),
        lost=tuple(unmatched(ours, theirs, silence_ms)),
        labels=tuple(_labelled(mark, ours, theirs, ledger) for mark in labels),
        one_core=all(not isinstance(second, ScoreCore) for second in seconds),
        from_ms=from_ms, last_ms=last_ms, keys=len(keys), events=events, usd=nano_usd / 1e9,
    )  # fmt: skip


def _second(core: ScoreCore, current: Folder, candidate: Folder) -> Beside:
    def blank(settings: DetectorsConfig) -> ScoreCore:
        return new_core(candidate, core.partition, settings=settings)

    if (current.keys, current.policies) == (candidate.keys, candidate.policies):
        return beside(core, candidate.detectors, new_core=blank)
    own = blank(candidate.detectors)
    own.allow(core.judge.allowances.marked.marks)
    return own


def unmatched(ours: Sequence[Told], theirs: Sequence[Told], silence_ms: int) -> list[Told]:
    """Incidents of ours at whose time the other side had none of the same key."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for told in theirs:
        spans.setdefault(told.key_id, []).append((told.opened_ms, told.last_ms + silence_ms))

    def alone(told: Told) -> bool:
        over_ms = told.last_ms + silence_ms
        return all(over_ms < low or told.opened_ms > high for low, high in spans.get(told.key_id, ()))

    return [told for told in ours if alone(told)]


def labelled_without_money(
    marks: Sequence[Mark], ours: Sequence[Told], theirs: Sequence[Told], from_ms: int, last_ms: int
) -> tuple[Labelled, ...]:
    """Which labels both versions told, where nobody knows what their keys spent."""
    nothing = Ledger(())
    return tuple(_labelled(mark, ours, theirs, nothing) for mark in marks if _is_within(mark, from_ms, last_ms))


def _is_within(mark: Mark, from_ms: int, last_ms: int) -> bool:
    return not mark.withdrawn and mark.scope == "key" and mark.until_ms >= from_ms and mark.from_ms <= last_ms


def _labelled(mark: Mark, ours: Sequence[Told], theirs: Sequence[Told], ledger: Ledger) -> Labelled:
    spent = ledger.spent_usd(mark.key_id, mark.from_ms, mark.until_ms)
    return Labelled(mark, spent, _answer(mark, ours, ledger, spent), _answer(mark, theirs, ledger, spent))


def _answer(mark: Mark, incidents: Sequence[Told], ledger: Ledger, spent_usd: float) -> LabelledSide:
    found = next((told for told in incidents if speaks_of(mark, told.alarm)), None)
    cuts = [told.cut.effective_ms for told in incidents if told.cut and speaks_of(mark, told.alarm)]
    cut_ms = min(cuts, default=mark.until_ms + SLACK_MS)
    lost = spent_usd if cut_ms >= mark.until_ms else ledger.spent_usd(mark.key_id, mark.from_ms, cut_ms)
    return LabelledSide(found, lost)
