"""What the frame log holds, and whether a commit may be believed: all before it must be durable."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from benchmarks.sim.broker import Record
from benchmarks.sim.remembered import remembered
from benchmarks.sim.score import records_of
from benchmarks.sim.settings import SHARDS, TOPICS
from detectors import codec
from detectors.placement import shard_of
from schemas.frame import FRAME_SCHEMA, INDEX_BITS, decode_frame
from streams.changelog import newest
from streams.topics import StateTopic

if TYPE_CHECKING:
    from aiokafka import TopicPartition

    from benchmarks.sim.world import World

Coord = tuple[int, int]  # raw partition, and the place there as one number


class FramesSeen:
    """Frames by partition and offset, decoded once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.coords: set[Coord] = set()
        self.frames: dict[int, list[pa.RecordBatch]] = defaultdict(list)
        self._rows: dict[int, list[list[tuple[Coord, int]]]] = defaultdict(list)  # with the shard of each
        self._values: dict[int, list[bytes]] = defaultdict(list)

    def add(self, record: Record) -> None:
        frame, rows = _decoded(record.value)
        self.frames[record.partition].append(frame)
        self._values[record.partition].append(record.value)
        self._rows[record.partition].append(rows)
        self.coords.update(coord for coord, _ in rows)

    def distinct(self, partition: int) -> pa.RecordBatch | None:
        """All rows of a partition, each once, in the order they first came, as one frame."""
        return _distinct(tuple(self._values[partition]))

    def check_ingest(self, tp: TopicPartition, offset: int) -> None:
        """Every event of the raw records before it is in the frame log."""
        for at, index in self._world.events_before(tp.partition, offset):
            if (tp.partition, at << INDEX_BITS | index) not in self.coords:
                self._wrong(f"ingest committed {tp.partition}-{offset}; event {index} of record {at} is in no frame")
                return

    def check_archive(self, tp: TopicPartition, offset: int) -> None:
        """Every row of the frames before it is in the store."""
        stored = {(row.raw_partition, row.raw_coord) for row in self._world.tables.rows}
        missing = {coord for rows in self._rows[tp.partition][:offset] for coord, _ in rows} - stored
        if missing:
            self._wrong(f"archive committed {tp.partition}-{offset}; {sorted(missing)} are not in the store")

    def check_score(self, tp: TopicPartition, offset: int) -> None:
        """Every row of the frames before it is covered by the state as it is read back."""
        covered = self._state(tp.partition)
        for rows in self._rows[tp.partition][:offset]:
            for (raw, coord), shard in rows:
                if coord > covered.get(shard, {}).get(raw, -1):
                    self._wrong(f"score committed {tp.partition}-{offset}; shard {shard} as stored lacks {raw, coord}")
                    return

    def _state(self, partition: int) -> dict[int, dict[int, int]]:
        log = self._world.broker.logs[type(self._world.raw[0])(TOPICS.state_name(StateTopic.SCORE), partition)]
        values = newest(records_of(log))
        found = {}
        for shard in range(SHARDS):
            data = values.get(f"{partition}:{shard}".encode())
            if data is not None:
                found[shard] = _covered(data)
        return found

    def _wrong(self, words: str) -> None:
        self._world.wrong.append(words)


def _coords(rows: pa.RecordBatch | pa.Table) -> list[Coord]:
    places = (rows[name].to_pylist() for name in ("raw_partition", "raw_offset", "raw_index"))
    return [(partition, offset << INDEX_BITS | index) for partition, offset, index in zip(*places, strict=True)]


@remembered
def _decoded(value: bytes) -> tuple[pa.RecordBatch, list[tuple[Coord, int]]]:
    """A frame, and of each row its place and its shard."""
    frame = decode_frame(value)
    shards = [shard_of(key, SHARDS) for key in frame["key_id"].to_pylist()]
    return frame, list(zip(_coords(frame), shards, strict=True))


@remembered
def _distinct(values: tuple[bytes, ...]) -> pa.RecordBatch | None:
    if not values:
        return None
    rows = pa.Table.from_batches([_decoded(value)[0] for value in values], FRAME_SCHEMA)
    known: set[Coord] = set()
    new = [not (coord in known or known.add(coord)) for coord in _coords(rows)]  # type: ignore[func-returns-value]
    return rows.filter(pa.array(new)).unify_dictionaries().combine_chunks().to_batches()[0]


@remembered
def _covered(shard: bytes) -> dict[int, int]:
    """By raw partition, up to where the state of a shard goes."""
    return dict(enumerate(np.asarray(codec.decode(shard)[1]["covered"]).tolist()))
