"""The score core: frames of one Kafka partition in, findings out, and the state as shards that survive crashes.

What it says depends on the rows and their order alone: not on how they were cut into frames, not on a crash and a
replay in between. Three habits make it so. Rows of a second wait until the clock has passed it and are then folded at
once; only what is certain is said before (`at_once.py`). Sums are of integers. What keys share changes only between
10-minute blocks, from the keys' own states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from detectors import current_use, intake, one_key, snapshots
from detectors import rows as r
from detectors.at_once import Arrived, AtOnce, in_order
from detectors.breaches import Watch
from detectors.fold import FIELDS, Folder
from detectors.judge import Judge
from detectors.keys import KeyBook, Names
from detectors.placement import Placement
from detectors.population import Population
from detectors.retries import RetryFilter, drop_repeated
from detectors.state import Array, KeyTable
from schemas.config.detectors import AnnouncedConfig, DetectorsConfig
from schemas.records import Finding, KeyFacts, Mark

if TYPE_CHECKING:
    from detectors.beside import Observer

_COMPACT_ABOVE: Final = 200_000  # rows waiting in one second


def _unregistered(_key_id: str) -> KeyFacts | None:
    return None


def _allowed(_key_id: str, _facts: KeyFacts, _model: str) -> str | None:
    return None


def _unwatched(_key_id: str, _facts: KeyFacts) -> Watch | None:
    return None


class ScoreCore:
    """Windows, detectors and state of the keys of one partition.

    `facts_of` asks the registry for a key (None: unknown there, its rows are believed); `forbidden` names the policy
    that keeps a key from a model, `watch_of` gives what else policies forbid it. All are asked once per key (and model)
    until `reconfigure`.
    """

    def __init__(
        self, settings: DetectorsConfig, *, partition: int, shards: int = 16,
        facts_of: Callable[[str], KeyFacts | None] = _unregistered,
        forbidden: Callable[[str, KeyFacts, str], str | None] = _allowed,
        watch_of: Callable[[str, KeyFacts], Watch | None] = _unwatched,
    ) -> None:  # fmt: skip
        self.partition, self.shards = partition, shards
        self.clock_s = 0
        """Newest second of event time seen. Set it after imports to the clock at the place the replay starts from."""
        self.models, self.places = Names(), Names()
        self.table = KeyTable(FIELDS)
        self.population = Population(settings)
        self.book = KeyBook(
            settings, self.population, shards=shards, facts_of=facts_of, forbidden=forbidden, watch_of=watch_of
        )
        self.judge = Judge(settings, self.book, models=self.models, places=self.places)
        self.retries = [RetryFilter(settings.time.dedup_s) for _ in range(shards)]
        self.covered = np.full((shards, 1), -1, np.int64)
        self.floor = np.zeros(shards, np.int64)  # clock of each imported shard
        self.delivered_s = 0  # clock of the imported cohorts: what was closed before has been told
        self.delivered = np.zeros(0, np.int64)  # and the coordinates they covered
        self._duplicates = {"replay": 0, "retry": 0}
        self.pending: list[Array] = []
        self.observers: list[Observer] = []
        self._dirty: dict[int, None] = {}
        self._intake = intake.Intake(self.book, self.models, self.places)
        self.folder = Folder(settings, self.table, self.book, self._confirmed)
        self.at_once = AtOnce(self.table, self.folder, self.book, self.judge, columns=lambda: self.book.columns)

    @property
    def known_keys(self) -> int:
        return len(self.book.ids)

    def take_duplicates(self) -> dict[str, int]:
        """Rows not counted since the last call: their shard had them (replay), their producer sent them again."""
        taken, self._duplicates = self._duplicates, dict.fromkeys(self._duplicates, 0)
        return taken

    def active_keys(self) -> int:
        """Keys used within the last hour of event time."""
        return int(current_use.active(self).sum())

    def active_registered_keys(self) -> int:
        """Of those, the keys that the registry knew when it was last asked."""
        active = current_use.active(self)
        return int((active & self.book.columns["registered"][: len(active)]).sum())

    def process(self, frame: pa.RecordBatch) -> list[Finding]:
        """Take a frame; returns what is certain of its rows, and the findings of the seconds it closed.

        They are in the order of their seconds; of each first what was certain before it was over, in the order of the
        rows, then the others by time, key, family and detector.
        """
        if frame.num_rows == 0:
            return []
        partitions, coords = intake.coordinates(frame)
        self.covered = intake.widened(self.covered, int(partitions.max()) + 1)
        clock = self._clock(frame, partitions, coords)
        at, ids, slots, shards = self._intake.keys(frame)
        shard = shards[at]
        kept = intake.beyond(self.covered, shard, partitions, coords)
        seconds = np.maximum(clock, self.floor[shard])
        self._duplicates["replay"] += len(kept) - int(kept.sum())
        self._touch(shard[kept])
        hashes = intake.column(frame, "event_hash")
        self._duplicates["retry"] += drop_repeated(self.retries, hashes, kept, shard, seconds)
        if not kept.all():
            frame, at, seconds = frame.filter(pa.array(kept)), at[kept], seconds[kept]
            partitions, coords = partitions[kept], coords[kept]
        if frame.num_rows:
            self._intake.admit(frame, at, ids, slots)
            self.table.grow_to(self.known_keys)
            rows = self._intake.rows(frame, slots[at], seconds)
            arrived = Arrived(rows, at, slots, lambda some: self._unheard(partitions[some], coords[some]))
            for each in self._all_at_once():
                each.take(arrived, self.pending)
            self.pending.append(rows)
        return self.advance(int(clock[-1]))

    def advance(self, clock_s: int) -> list[Finding]:
        """Move the clock and close the seconds before it. It never goes back."""
        self.clock_s = max(self.clock_s, clock_s)
        findings: list[Finding] = []
        for block, rows in r.by_block(self._ripe()):
            self._roll(block)
            for wave in r.waves(rows):
                findings += self._fold(wave, block)
        self._roll(self.clock_s // r.BLOCK_S)
        for each in self._all_at_once():
            each.still_open(self.population)
        self.judge.said.forget(self.clock_s)
        return in_order(self.at_once.told(self.clock_s), findings)

    def _fold(self, rows: Array, block: int) -> list[Finding]:
        for each in self._all_at_once():
            each.closing(rows, self.population)
        wave = self.folder.fold(rows, block)
        self._touch(self.book.columns["shard"][wave.slots])
        due = wave.close.second >= self.delivered_s
        if not due.any():
            return []
        told = self.judge.findings(wave, self.population, due)
        for observer in self.observers:
            observer.saw(wave, self.at_once.said_of(wave) + told, due)
        return told

    def _all_at_once(self) -> list[AtOnce]:
        return [self.at_once, *(each.at_once for each in self.observers if each.at_once is not None)]

    def _confirmed(self, slots: Array, seconds: Array) -> Array | None:
        return self.judge.allowances.confirmed(slots, seconds)

    def _clock(self, frame: pa.RecordBatch, partitions: Array, coords: Array) -> Array:
        """The clock at each row. Rows that the imported cohorts had not seen never find it behind theirs."""
        seconds = intake.column(frame, "ts_ms") // 1000
        if self.clock_s < self.delivered_s:
            seconds = np.where(self._unheard(partitions, coords), np.maximum(seconds, self.delivered_s), seconds)
        seconds[0] = max(int(seconds[0]), self.clock_s)
        clock: Array = np.maximum.accumulate(seconds)
        return clock

    def _unheard(self, partitions: Array, coords: Array) -> Array:
        """Which rows the imported cohorts had not seen: nothing was said of them yet."""
        unheard: Array = coords > np.append(self.delivered, np.full(self.covered.shape[1], -1))[partitions]
        return unheard

    def _ripe(self) -> Array:
        """Take the waiting rows whose second has passed; leave the rest."""
        if all((part[r.SECOND] >= self.clock_s).all() for part in self.pending):
            if sum(part.shape[1] for part in self.pending) > _COMPACT_ABOVE:
                self.pending = [r.compact(np.concatenate(self.pending, axis=1))]
            return r.empty()
        waiting = self.pending[0] if len(self.pending) == 1 else np.concatenate((r.empty(), *self.pending), axis=1)
        ripe = waiting[r.SECOND] < self.clock_s
        if ripe.all():
            self.pending = []
            return waiting
        self.pending = [waiting[:, ~ripe]]
        return waiting[:, ripe]

    def _roll(self, block: int) -> None:
        """Between blocks the cohorts learn; imported ones have learned what lies behind them."""
        if block > self.population.block:
            columns = self.book.columns
            self.population.roll(block, self.table, columns["cohort"], columns["salt"])

    def _touch(self, shards: Array) -> None:
        for shard in np.flatnonzero(np.bincount(shards, minlength=self.shards)).tolist():
            self._dirty.setdefault(shard)

    def dirty_shards(self) -> list[int]:
        """Shards changed since their last export, the longest dirty first."""
        return list(self._dirty)

    def export_shard(self, shard: int) -> bytes:
        """The keys of one shard with all that their future depends on; marks it clean."""
        self._dirty.pop(shard, None)
        return snapshots.export_shard(self, shard)

    def import_shard(self, shard: int, data: bytes) -> None:
        """On a fresh core only. ValueError when the bytes are not of this version or of another shard."""
        snapshots.import_shard(self, shard, data)

    def place_as(self, placement: Placement) -> None:
        """On a fresh core only: in which shards its keys are, see `Placement`."""
        self.book.place_as(placement)

    def export_cohorts(self) -> bytes:
        """What keys share. Must be stored before any shard exported after it."""
        return snapshots.export_cohorts(self)

    def import_cohorts(self, data: bytes) -> None:
        """On a fresh core only, before or after the shards."""
        snapshots.import_cohorts(self, data)

    def evidence(self, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
        """Of each of these keys what was learned of it, and what its cohort shares. KeyError for an unknown one."""
        return one_key.evidence(self, keys)

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """New thresholds from now on; registry and policies are asked afresh."""
        self.population.reconfigure(settings)
        self.book.reconfigure(settings)
        self.judge.reconfigure(settings)
        for retries in self.retries:
            retries.dedup_s = settings.time.dedup_s
        self.folder.reconfigure(settings)
        self.at_once.reconfigure(settings)

    def allow(self, marks: Iterable[Mark], expected: Iterable[AnnouncedConfig] = ()) -> None:
        """What people said of keys, in marks and by exceptions: these and no others from now on, in event time."""
        self.judge.allowances.marked.replace(marks, expected)

    def windows(self, key_id: str) -> dict[str, float] | None:
        """Current window sums by name (`usd_1m`, ...), rows of the open second included; None for an unknown key."""
        return current_use.windows(self, key_id)

    def summary(self) -> list[current_use.KeyUse]:
        """Every key's use as of the clock."""
        return current_use.summary(self)
