"""One loose pass over a history, then thresholds by what it recorded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
import pyarrow as pa

from controls.labels import SLACK_MS
from detectors.core import ScoreCore
from detectors.families import CALIBRATED
from detectors.state import Array
from schemas.config import DetectorsConfig
from schemas.records import Mark
from service.config_tree import Folder
from service.history import WEEK_MS
from service.play import feed, new_core, new_cores
from service.tune_choose import Point, Search, choose, curve, floors_of, halves
from service.tune_plant import KINDS, Kind, Parse, Planter
from service.tune_record import Recorder, Records, joined
from service.tune_thefts import Losses, Theft, losses

_LEAST_FOR_HALVES: Final = 8  # thefts; fewer say nothing about the other half


@dataclass(frozen=True)
class Tuned:
    """The proposal and what it is measured against."""

    wanted_per_week: float
    current: Point
    proposed: Point
    curve: tuple[tuple[float, Point], ...]  # all rates times so much
    planted: bool  # the thefts were made up: nobody has labelled any in this history
    thefts: tuple[Theft, ...]
    chosen_on: Losses | None  # half of the keys' thefts, by thresholds chosen on the same half ...
    held_out: Losses | None  # ... and the other half's, by those same thresholds
    unmovable_per_week: float  # alerts that no learned threshold can take away
    weeks: float
    keys: int


def tune(
    folder: Folder, frames: Iterable[pa.RecordBatch], *, per_week: float, marks: Sequence[Mark], parse: Parse,
    from_ms: int, last_ms: int, kinds: Sequence[Kind] = KINDS,
) -> Tuned:  # fmt: skip
    """Play frames, which end at `last_ms`, once; what lies before `from_ms` only teaches."""
    cores = new_cores(folder, marks=marks)
    recorders = [Recorder(core, from_ms=from_ms) for core in cores]
    labels = [mark for mark in marks if _is_theft(mark, from_ms, last_ms)]
    ledger = _Spend(labels)
    watchers: list[Callable[[pa.RecordBatch], None]] = [ledger.saw]
    planter = Planter(
        cores, blank=lambda p: _blank(folder, p), parse=parse, kinds=kinds, from_ms=from_ms, last_ms=last_ms
    )
    if not labels:
        watchers.append(planter.before)
    for frame in frames:
        for watch in watchers:
            watch(frame)
        for _ in feed(cores, frame):
            pass
    for core in cores:
        core.advance(last_ms // 1000 + 1)
    planter.finish()
    records = joined(recorder.records() for recorder in recorders)
    thefts = [ledger.theft(mark, records) for mark in labels] or planter.thefts
    weeks = (last_ms + 1 - from_ms) / WEEK_MS
    search = Search(_without(records, labels), thefts, weeks, folder.responses, _floors(folder.detectors))
    return _tuned(search, per_week=per_week, planted=not labels)


def _floors(settings: DetectorsConfig) -> Array:
    sections = {family: getattr(settings, family) for family in CALIBRATED}
    return floors_of({name: section.alarm_per_key_week for name, section in sections.items() if section.enabled})


def _tuned(search: Search, *, per_week: float, planted: bool) -> Tuned:
    chosen_on, held_out = _checked(search, per_week)
    silent = floors_of({})
    return Tuned(
        wanted_per_week=per_week, current=search.point(search.floors), proposed=choose(search, per_week),
        curve=tuple(curve(search)), planted=planted, thefts=tuple(search.thefts), chosen_on=chosen_on,
        held_out=held_out, unmovable_per_week=search.alerts(silent) / search.weeks, weeks=search.weeks,
        keys=len(search.records.keys),
    )  # fmt: skip


def _checked(search: Search, per_week: float) -> tuple[Losses | None, Losses | None]:
    """Thresholds chosen on one half of the keys, tried on the other: is the choice more than chance?"""
    first, second = halves(search, lambda name: crc32(b"half:" + name.encode()) % 2 == 0)
    if min(len(first.thefts), len(second.thefts)) < _LEAST_FOR_HALVES:
        return None, None
    point = choose(first, per_week / 2)
    return point.losses, losses(second.thefts, point.floors, search.responses.ladder)


def _blank(folder: Folder, partition: int) -> ScoreCore:
    return new_core(folder, partition)


def _is_theft(mark: Mark, from_ms: int, last_ms: int) -> bool:
    known = mark.verdict == "true" and not mark.withdrawn and mark.scope == "key"
    return known and from_ms <= mark.from_ms <= last_ms


def _without(records: Records, labels: Iterable[Mark]) -> Records:
    """Alarms that were thefts are none that anybody wants fewer of."""
    keep = np.ones(len(records.key), bool)
    names = np.array(records.keys, object)
    for mark in labels:
        mine = names[records.key] == mark.key_id if len(records.key) else keep
        keep &= ~(mine & (records.at_ms >= mark.from_ms - SLACK_MS) & (records.at_ms <= mark.until_ms + SLACK_MS))
    return records.where(keep)


class _Spend:
    """What labelled keys spend in the time of their thefts."""

    def __init__(self, labels: Iterable[Mark]) -> None:
        self._parts: dict[str, list[tuple[Array, Array]]] = {mark.key_id: [] for mark in labels}

    def saw(self, frame: pa.RecordBatch) -> None:
        for place, name in enumerate(frame["key_id"].dictionary.to_pylist()):
            if name in self._parts:
                mine = frame["key_id"].indices.to_numpy() == place
                self._parts[name].append((frame["ts_ms"].to_numpy()[mine], frame["cost_nano_usd"].to_numpy()[mine]))

    def theft(self, mark: Mark, records: Records) -> Theft:
        parts = self._parts[mark.key_id]
        at_ms = np.concatenate([np.zeros(0, np.int64), *(at for at, _ in parts)])
        nano = np.concatenate([np.zeros(0, np.int64), *(cost for _, cost in parts)])
        within = (at_ms >= mark.from_ms) & (at_ms <= mark.until_ms)
        own = records.of_keys([mark.key_id])
        return Theft(
            name=mark.mark_id, key_id=mark.key_id, from_ms=mark.from_ms, until_ms=mark.until_ms + 1, goes_on=False,
            records=own.where((own.at_ms >= mark.from_ms) & (own.at_ms <= mark.until_ms)), spent_ms=at_ms[within],
            spent_usd=np.cumsum(nano[within]) / 1e9,
        )  # fmt: skip
