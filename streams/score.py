"""`usage.frames` → findings: the state of the keys, written as shards, acknowledged when every shard covers it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from detectors.core import ScoreCore
from detectors.snapshots import placement_of
from schemas.config import DetectorsConfig
from schemas.config.detectors import AnnouncedConfig
from schemas.config.wiring import StateConfig
from schemas.frame import decode_frame
from schemas.records import DeadLetter, DeadReason, Finding, KeyFacts, Mark, PartitionStats
from streams.acks import Arrived
from streams.checkpoint import Checkpoint, ShardStore
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.key_states import KeyStates
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.shadow import Shadow
from streams.topics import Topic, Topics
from streams.turns import Turns

_STATS_EVERY_S = 2.0
_LONGEST_TICK_S = 1.0  # a process that was busy for longer has not waited for frames meanwhile


class _Unacked(NamedTuple):
    """A frame whose shards are not all written; its payload is not kept."""

    offset: int
    clock_s: int  # of the core after it
    ack: Callable[[], object]


@dataclass
class _Partition:
    core: ScoreCore
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    unacked: deque[_Unacked] = field(default_factory=deque)
    idle_s: float = 0.0
    last_frame_clock_s: int = 0
    last_step_s: float = 0.0
    last_stats_s: float = 0.0


class ScoreStage:
    """All partitions of one worker. Holds no clock: `now_s` is monotonic, `now_ms` is the wall's."""

    def __init__(
        self,
        *,
        new_core: Callable[[int], ScoreCore],
        store: ShardStore,
        outbox: Outbox,
        topics: Topics,
        metrics: Metrics,
        progress: StageProgress,
        settings: StateConfig,
        shadow: Shadow | None = None,
    ) -> None:
        self._new_core = new_core
        self._store = store
        self._outbox = outbox
        self._topics = topics
        self._metrics = metrics
        self._progress = progress
        self._settings = settings
        self._shadow = shadow
        self._partitions: dict[int, _Partition] = {}
        self._key_states = KeyStates(outbox)
        self._marks: Sequence[Mark] = ()
        self._expected: Sequence[AnnouncedConfig] = ()
        self._last_tick_s: float | None = None
        self._busy_s = 0.0  # with frames, since the last tick
        self._turns = Turns(self.drop)  # what is told of a second must be out before the clock is said to be past it
        self._findings_end: dict[int, int] = {}  # by partition of the findings: the offset after the newest told
        self.scored = 0  # events of this process

    def drop(self) -> None:
        """A rebalance: whatever stays assigned is read again from its last checkpoint."""
        self._turns.given_up()
        self._partitions.clear()
        self._findings_end.clear()
        if self._shadow is not None:
            self._shadow.drop()

    def cores(self) -> list[ScoreCore]:
        return [partition.core for partition in self._partitions.values()]

    def allow(self, marks: Sequence[Mark]) -> None:
        """All marks that people have given; to be called before the first frame, and whenever they change."""
        self._marks = tuple(marks)
        self._allow()

    def expect(self, windows: Sequence[AnnouncedConfig]) -> None:
        """All that exceptions from policies let keys do; called like `allow`."""
        self._expected = tuple(windows)
        self._allow()

    def _allow(self) -> None:
        for core in self.cores():
            core.allow(self._marks, self._expected)
        if self._shadow is not None:
            self._shadow.allow(self._marks, self._expected)

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """New settings from now on, and whatever candidate is on trial now."""
        for core in self.cores():
            core.reconfigure(settings)
            if self._shadow is not None:
                self._shadow.begin(core)

    def settle(self, key_id: str) -> None:
        """The registry says something else of this key from now on."""
        for core in self.cores():
            core.book.settle(key_id)

    def settle_where(self, concerns: Callable[[str, KeyFacts], bool]) -> None:
        """Policies say something else of these keys from now on."""
        for core in self.cores():
            core.book.settle_where(concerns)

    async def on_frame(self, frame: Arrived, *, now_s: float, now_ms: int) -> None:
        """Fold, tell the findings, then remember that this frame waits for its shards."""
        async with self._turns.frame():
            await self._on_frame(frame, now_s, now_ms)

    def was_busy(self, seconds: float) -> None:
        """So long the last frame took: no time in which others were waited for."""
        self._busy_s += seconds

    async def _on_frame(self, arrived: Arrived, now_s: float, now_ms: int) -> None:
        partition, offset = arrived.partition, arrived.offset
        state = self._partitions.get(partition) or await self._restore(partition, now_s)
        try:
            frame = decode_frame(arrived.value)
        except ValueError as error:
            await self._bury(arrived, str(error), now_ms)
            state.checkpoint.folded(offset, dirty=())
        else:
            findings = state.core.process(frame)
            self._count(frame, state.core)
            await self._tell(state.core, findings, now_ms)
            if self._shadow is not None:
                await self._shadow.process(partition, frame)
            state.checkpoint.folded(offset, dirty=state.core.dirty_shards())
        state.unacked.append(_Unacked(offset, state.core.clock_s, arrived.ack))
        state.idle_s, state.last_frame_clock_s = 0.0, state.core.clock_s
        await self._step(partition, state, now_s)

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Without traffic the clock still moves, so that the last second is judged and silence is seen."""
        async with self._turns.tick():
            await self._tick(now_s, now_ms)

    async def _tick(self, now_s: float, now_ms: int) -> None:
        free_s = now_s - (now_s if self._last_tick_s is None else self._last_tick_s) - self._busy_s
        passed_s, self._busy_s = min(max(free_s, 0.0), _LONGEST_TICK_S), max(-free_s, 0.0)
        self._last_tick_s = now_s
        for partition, state in list(self._partitions.items()):
            state.idle_s += passed_s
            idle_s = state.idle_s - self._settings.idle_s
            if idle_s > 0 and state.core.clock_s:
                silent = state.core.advance(state.last_frame_clock_s + 1 + int(idle_s))
                await self._tell(state.core, silent, now_ms)
                if self._shadow is not None:
                    await self._shadow.advance(partition, state.core.clock_s)
                state.checkpoint.touched(dirty=state.core.dirty_shards())
            await self._step(partition, state, now_s)
            if now_s - state.last_stats_s >= _STATS_EVERY_S:
                state.last_stats_s = now_s
                await self._outbox.send(Topic.STATS, [(str(partition), self._stats(partition, state.core, now_ms))])
        self._progress.lag_records = sum(len(state.unacked) for state in self._partitions.values())
        self._metrics.set("keyfuse_keys_known", sum(core.known_keys for core in self.cores()))
        self._metrics.set("keyfuse_keys_active", sum(core.active_keys() for core in self.cores()))

    async def _restore(self, partition: int, now_s: float) -> _Partition:
        """Shard by shard, for all else in the process waits meanwhile: seconds, with a million keys.

        Known from the beginning, so that new settings meanwhile reach it; frames and ticks wait for it.
        """
        core = self._new_core(partition)
        core.allow(self._marks, self._expected)
        self._partitions[partition] = state = _Partition(core, last_step_s=now_s)
        clock = self._store.get(_key(partition, "clock"))
        cohorts = self._store.get(_key(partition, "cohorts"))
        if cohorts is not None:  # and shards, perhaps, though no frame was acknowledged yet
            core.place_as(placement_of(cohorts))
        if clock is not None and cohorts is not None:
            core.import_cohorts(cohorts)
            shards = [self._store.get(_key(partition, str(shard))) for shard in range(self._settings.shards)]
            for shard, data in enumerate(shards):
                if data is not None:
                    core.import_shard(shard, data)
                await asyncio.sleep(0)
                self._still_owned(partition, state)
            core.clock_s = int(clock)  # the clock at the acknowledged frame: all before it is covered
        state.last_frame_clock_s = core.clock_s
        if self._shadow is not None:
            self._shadow.begin(core)
        return state

    def _still_owned(self, partition: int, state: _Partition) -> None:
        if self._partitions.get(partition) is not state:
            raise Overtaken("the partition was given up: another owner may have written a newer state")

    async def _step(self, partition: int, state: _Partition, now_s: float) -> None:
        """Write the shard that has waited longest, the cohorts before it, then acknowledge what all cover."""
        if now_s - state.last_step_s < self._settings.rotation_s / self._settings.shards:
            return
        state.last_step_s = now_s
        dirty = state.core.dirty_shards()
        if dirty:
            await self._put(partition, state, "cohorts", state.core.export_cohorts())
            await self._put(partition, state, str(dirty[0]), state.core.export_shard(dirty[0]))
            state.checkpoint.written(dirty[0])
            self._metrics.set("keyfuse_checkpoint_age_seconds", 0)
        ackable = state.checkpoint.ackable()
        covered = [state.unacked.popleft() for _ in range(sum(frame.offset <= ackable for frame in state.unacked))]
        if not covered:
            return
        await self._put(partition, state, "clock", str(covered[-1].clock_s).encode())
        for frame in covered:
            frame.ack()
        self._progress.committed(now_s)

    async def _put(self, partition: int, state: _Partition, name: str, value: bytes) -> None:
        self._still_owned(partition, state)
        await self._store.put(partition, _key(partition, name), value)
        self._metrics.inc("keyfuse_checkpoint_bytes_total", len(value))

    async def _tell(self, core: ScoreCore, findings: list[Finding], now_ms: int) -> None:
        if not findings:
            return
        ends, _ = await asyncio.gather(  # at once: frames of all partitions wait meanwhile
            self._outbox.send(Topic.FINDINGS, [(finding.key_id, finding) for finding in findings]),
            self._key_states.tell(core, findings),
        )
        self._findings_end.update(ends)
        for finding in findings:
            self._metrics.inc("keyfuse_findings_total", family=finding.family, severity=finding.severity)
            self._metrics.observe("keyfuse_event_to_finding_seconds", max(0, now_ms - finding.at_ms) / 1000)

    def _count(self, frame: pa.RecordBatch, core: ScoreCore) -> None:
        self.scored += frame.num_rows
        self._metrics.inc("keyfuse_events_scored_total", frame.num_rows)
        self._metrics.inc("keyfuse_usd_observed_total", float(np.sum(frame["cost_nano_usd"].to_numpy())) / 1e9)
        for kind, rows in core.take_duplicates().items():
            self._metrics.inc("keyfuse_events_duplicate_total", rows, kind=kind)

    def _stats(self, partition: int, core: ScoreCore, now_ms: int) -> PartitionStats:
        return PartitionStats(
            partition=partition, at_ms=now_ms, clock_s=core.clock_s, active_keys=core.active_keys(),
            known_keys=core.known_keys, active_registered_keys=core.active_registered_keys(),
            findings_end=self._findings_end.get(partition),
        )  # fmt: skip

    async def _bury(self, arrived: Arrived, detail: str, now_ms: int) -> None:
        partition = arrived.partition
        dead = DeadLetter(
            topic=self._topics.name(Topic.FRAMES), partition=partition, offset=arrived.offset, index=-1,
            reason=DeadReason.BAD_FRAME, detail=detail, bytes=len(arrived.value), at_ms=now_ms,
        )  # fmt: skip
        await self._outbox.send(Topic.DEAD, [(str(partition), dead)])
        self._metrics.inc("keyfuse_dead_letters_total", reason=dead.reason.value)


def _key(partition: int, name: str) -> bytes:
    return f"{partition}:{name}".encode()
