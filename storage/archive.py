"""Plans the archive of one partition of the frame log: which frames become which insert, whatever crashes in between.

The caller works in four steps, and after a crash in any of them the next owner does the same insert again:

    commit(archive.intent())     # "about to insert [c, e)": the edges are fixed before the insert
    batch = archive.batch(...)   # the same rows each time they are made, under the same token
    insert(batch.table, batch.token)
    commit(archive.done())       # "[c, e) is in"

Three things may come twice, and each has its own guard:
- an insert (crash before `done`, a late zombie): the token, for the edges do not move;
- a raw record (the ingest crashed before its commit): its raw coordinate is not above the highest archived one;
- an event (its producer sent it again): same key and event id, times at most 15 minutes apart, counted in steps of
  five. It is kept, so that the last word wins, and marked `retry`, so that the rollups count it once. Steps of five
  minutes, because of the rows in one step the store keeps the last: their exact times are forgotten, the step is not.
All three follow from the log and the checkpoint alone, never from where batches were cut.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.frame import FRAME_SCHEMA, INDEX_BITS
from storage.checkpoint import Checkpoint
from storage.fresh import above, identities_of
from storage.rows import usage_columns
from storage.seen import KEPT_MS, RETRY_WINDOW_MS, Hashes, Mask, SeenEvents, Times, in_steps, repeats


@dataclass(frozen=True)
class BatchLimits:
    """An insert is made of at least `min_rows`, or of what came in `max_age_s`; after an outage of up to `max_rows`."""

    min_rows: int = 10_000
    max_rows: int = 100_000
    max_age_s: float = 1.0


DEFAULT_LIMITS: Final = BatchLimits()


class Flush(StrEnum):
    """Why it is time to insert."""

    ROWS = "rows"
    AGE = "age"
    INTENT = "intent"  # an owner before us announced these edges


@dataclass(frozen=True)
class Commit:
    """What to commit to the consumer group."""

    offset: int
    metadata: str


@dataclass(frozen=True)
class LateRows:
    """Rows too old to be judged from memory: the store must say which of these it has before `before`."""

    before: int  # a position
    key_ids: list[str]
    event_hashes: Hashes
    steps_ms: Times


@dataclass(frozen=True)
class Batch:
    """One insert. `table` may be empty when all rows were archived before."""

    token: str
    table: pa.Table
    repeated: int  # rows dropped: their raw record was archived before
    retries: int  # rows kept and not counted: their producer sent the event again


@dataclass(frozen=True)
class _Selection:
    """The rows of [offset, end) that are new."""

    rows: pa.Table
    positions: npt.NDArray[np.uint64]
    identities: Hashes
    steps_ms: Times  # event times rounded down to five minutes
    coords: dict[int, int]
    repeated: int


class PartitionArchive:
    """One partition's archive. Not thread-safe; does no I/O and reads no clock."""

    def __init__(
        self,
        topic: str,
        partition: int,
        checkpoint: Checkpoint,
        *,
        seen: SeenEvents,
        limits: BatchLimits = DEFAULT_LIMITS,
    ) -> None:
        self._limits = limits
        self.topic = topic
        self.partition = partition
        self._checkpoint = checkpoint
        self._seen = seen
        self._frames: deque[tuple[int, pa.RecordBatch]] = deque()
        self._rows = 0
        self._waiting_since_s = 0.0
        self._selected: _Selection | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        return self._checkpoint

    @property
    def waiting_rows(self) -> int:
        """Rows taken in and not yet inserted: what backpressure is decided by."""
        return self._rows

    def add(self, offset: int, frame: pa.RecordBatch | None, *, now_s: float) -> None:
        """Take one record of the log; None for one that is no frame and went to the dead letters.

        Offsets below the checkpoint are ignored. `now_s` is any monotonic clock. ValueError when offsets fall.
        """
        if offset < self._checkpoint.offset:
            return
        if self._frames and offset <= self._frames[-1][0]:
            raise ValueError(f"offset {offset} comes after {self._frames[-1][0]}")
        if not self._frames:
            self._waiting_since_s = now_s
        rows = frame if frame is not None else pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)
        if rows.num_rows > 1 << INDEX_BITS:
            raise ValueError(f"a frame of {rows.num_rows} rows")
        self._frames.append((offset, rows))
        self._rows += rows.num_rows

    def ready(self, now_s: float) -> Flush | None:
        """Whether to insert now. An announced batch waits for all its frames and for nothing else."""
        if not self._frames:
            return None
        if self._checkpoint.end is not None:
            return Flush.INTENT if self._frames[-1][0] >= self._checkpoint.end - 1 else None
        if self._rows >= self._limits.min_rows:
            return Flush.ROWS
        return Flush.AGE if now_s - self._waiting_since_s >= self._limits.max_age_s else None

    def intent(self) -> Commit:
        """Fix the edges of the next batch. To be committed before it is inserted; the same until `done`."""
        if self._checkpoint.end is None:
            self._checkpoint = replace(self._checkpoint, end=self._next_edge())
        return Commit(self._checkpoint.offset, self._checkpoint.metadata())

    def late(self) -> LateRows | None:
        """What the store must be asked before `batch`, or None, as nearly always."""
        chosen = self._select()
        old = chosen.steps_ms - RETRY_WINDOW_MS < self._seen.floor_ms
        if not old.any():
            return None
        rows = chosen.rows.filter(pa.array(old))
        return LateRows(
            before=self._position(self._checkpoint.offset),
            key_ids=rows.column("key_id").cast(pa.string()).to_pylist(),
            event_hashes=rows.column("event_hash").to_numpy(),
            steps_ms=chosen.steps_ms[old],
        )

    def batch(self, known: SeenEvents | None = None) -> Batch:
        """The insert, the same however often it is made. `known` is the store's answer to `late`."""
        chosen = self._select()
        retry: Mask = repeats(chosen.identities, chosen.steps_ms) | self._seen.near(chosen.identities, chosen.steps_ms)
        if known is not None:
            retry |= known.near(chosen.identities, chosen.steps_ms)
        start = self._checkpoint.log_start
        table = usage_columns(
            chosen.rows, partition=self.partition, log_start=start, positions=chosen.positions, retry=retry
        )
        edges = f"{self._checkpoint.offset}-{self._checkpoint.end}"
        return Batch(f"{self.topic}:{self.partition}:{start}:{edges}", table, chosen.repeated, int(retry.sum()))

    def done(self) -> Commit:
        """The batch is in the store: go on behind it. To be committed."""
        chosen, end = self._select(), self._end()
        clock_ms = self._checkpoint.clock_ms
        if len(chosen.steps_ms):
            # The median, not the newest: one broken clock must not age everything else.
            clock_ms = max(clock_ms, int(np.median(chosen.steps_ms)))
            self._seen.add(chosen.identities, chosen.steps_ms)
            self._seen.forget_before(clock_ms - KEPT_MS)
        while self._frames and self._frames[0][0] < end:
            self._rows -= self._frames.popleft()[1].num_rows
        self._selected = None
        self._checkpoint = Checkpoint(
            end, self._checkpoint.log_start, None, self._checkpoint.coords | chosen.coords, clock_ms
        )
        return Commit(end, self._checkpoint.metadata())

    def _next_edge(self) -> int:
        if not self._frames:
            raise ValueError("nothing to announce: no frame has come")
        rows = 0
        for offset, frame in self._frames:
            rows += frame.num_rows
            if rows >= self._limits.max_rows:
                return offset + 1
        return self._frames[-1][0] + 1

    def _end(self) -> int:
        if self._checkpoint.end is None:
            raise ValueError("no batch is announced: commit an intent first")
        return self._checkpoint.end

    def _position(self, offset: int) -> int:
        return (self._checkpoint.log_start + offset) << INDEX_BITS

    def _select(self) -> _Selection:
        if self._selected is None:
            end = self._end()
            frames = [(offset, frame) for offset, frame in self._frames if offset < end]
            self._selected = self._new_rows(frames)
        return self._selected

    def _new_rows(self, frames: list[tuple[int, pa.RecordBatch]]) -> _Selection:
        rows = pa.Table.from_batches([frame for _, frame in frames], FRAME_SCHEMA)
        positions = [self._position(offset) + np.arange(f.num_rows, dtype=np.uint64) for offset, f in frames]
        new, coords = above(self._checkpoint.coords, rows)
        kept = rows.filter(pa.array(new))
        return _Selection(
            rows=kept,
            positions=np.concatenate([*positions, np.zeros(0, np.uint64)]).astype(np.uint64)[new],
            identities=identities_of(kept),
            steps_ms=in_steps(kept.column("ts_ms").to_numpy()),
            coords=coords,
            repeated=int((~new).sum()),
        )
