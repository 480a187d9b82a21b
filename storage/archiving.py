"""The archive's side of the store: what was archived before, and the insert itself. Blocking."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.frame import INDEX_BITS
from storage.archive import DEFAULT_LIMITS, Batch, BatchLimits, LateRows, PartitionArchive
from storage.checkpoint import Checkpoint
from storage.seen import KEPT_MS, MAX_HASHES, RETRY_WINDOW_MS, STEP_MS, SeenEvents
from storage.store import Store

_ASKED_AT_ONCE: Final = 1000
NEW_LOG: Final = (
    "SELECT count(), max(position), toUnixTimestamp64Milli(max(ts))"
    " FROM usage_events WHERE frame_partition = {p:UInt16}"
)
ARCHIVED: Final = (
    "SELECT bitXor(event_hash, xxHash64(key_id)) AS identity,"
    " toInt64(toUnixTimestamp(toStartOfFiveMinutes(ts))) * 1000 AS step_ms"
    " FROM usage_events WHERE frame_partition = {p:UInt16} AND position < {before:UInt64}"
)


def resume(
    store: Store,
    topic: str,
    partition: int,
    *,
    offset: int,
    metadata: str,
    now_ms: int,
    limits: BatchLimits = DEFAULT_LIMITS,
) -> PartitionArchive:
    """The archive of a partition just assigned, from its committed offset and metadata (empty when there is none).

    Without metadata the frame log is taken as new: its rows stand behind all that is stored, and an event that is
    stored already is kept as a retry, not counted again.
    """
    checkpoint = Checkpoint.read(offset, metadata) or _new_log(store, partition, offset=offset, now_ms=now_ms)
    seen = _seen(store, partition, checkpoint)
    return PartitionArchive(topic, partition, checkpoint, seen=seen, limits=limits)


def write(store: Store, archive: PartitionArchive) -> Batch:
    """Insert the announced batch. After Unreachable call it again: same rows, same token."""
    late = archive.late()
    batch = archive.batch(_known(store, archive.partition, late) if late else None)
    store.insert_usage(batch.table, batch.token)
    return batch


def _new_log(store: Store, partition: int, *, offset: int, now_ms: int) -> Checkpoint:
    [(rows, position, newest_ms)] = store.connection.rows(NEW_LOG, {"p": partition})
    behind = (position >> INDEX_BITS) + 1 if rows else 0
    return Checkpoint(offset, max(now_ms, behind), clock_ms=min(newest_ms, now_ms) if rows else 0)


def _seen(store: Store, partition: int, checkpoint: Checkpoint) -> SeenEvents:
    floor_ms = max(0, checkpoint.clock_ms - KEPT_MS)
    table = store.connection.arrow(
        ARCHIVED + " AND ts >= fromUnixTimestamp64Milli({floor:Int64}) ORDER BY ts DESC LIMIT {most:UInt64}",
        {
            "p": partition,
            "before": (checkpoint.log_start + checkpoint.offset) << INDEX_BITS,
            "floor": floor_ms,
            "most": MAX_HASHES,
        },
    )
    identities, times = table.column("identity").to_numpy(), table.column("step_ms").to_numpy()
    seen = SeenEvents(floor_ms=floor_ms if len(times) < MAX_HASHES else int(times.min()) + 1)
    seen.add(identities, times)
    return seen


def _known(store: Store, partition: int, late: LateRows) -> SeenEvents:
    known = SeenEvents()
    order = np.argsort(np.array(late.key_ids), kind="stable")  # a question about few keys reads few rows
    for begin in range(0, len(order), _ASKED_AT_ONCE):
        rows = order[begin : begin + _ASKED_AT_ONCE]
        table = store.connection.arrow(
            ARCHIVED + " AND key_id IN {keys:Array(String)} AND event_hash IN {hashes:Array(UInt64)}"
            " AND ts BETWEEN fromUnixTimestamp64Milli({low:Int64}) AND fromUnixTimestamp64Milli({high:Int64})",
            {
                "p": partition,
                "before": late.before,
                "keys": sorted({late.key_ids[row] for row in rows}),
                "hashes": late.event_hashes[rows].tolist(),
                "low": int(late.steps_ms[rows].min()) - RETRY_WINDOW_MS,
                "high": int(late.steps_ms[rows].max()) + RETRY_WINDOW_MS + STEP_MS,
            },
        )
        known.add(table.column("identity").to_numpy(), table.column("step_ms").to_numpy())
    return known
