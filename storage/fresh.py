"""Which rows of a batch are new, and what each is recognised by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

from storage.rows import raw_coords
from storage.seen import Hashes, Mask


def above(coords: dict[int, int], rows: pa.Table) -> tuple[Mask, dict[int, int]]:
    """Which rows are above all earlier ones of their raw partition, and the new highest coordinates."""
    partitions, raw = rows.column("raw_partition").to_numpy(), raw_coords(rows)
    new, highest = np.zeros(rows.num_rows, np.bool_), {}
    for partition in np.unique(partitions).tolist():
        places = np.flatnonzero(partitions == partition)
        running = np.maximum.accumulate(np.concatenate([[coords.get(partition, -1)], raw[places]]))
        new[places] = raw[places] > running[:-1]
        highest[partition] = int(running[-1])
    return new, highest


def identities_of(rows: pa.Table) -> Hashes:
    """Event hash and key in one number: two keys may use the same event id. The store computes the same in SQL."""
    parts = [np.zeros(0, np.uint64)]
    for chunk in rows.column("key_id").chunks:
        of_key = np.array([xxhash.xxh64_intdigest(key.encode()) for key in chunk.dictionary.to_pylist()], np.uint64)
        parts.append(of_key[chunk.indices.to_numpy()] if len(chunk) else parts[0])
    keys: Hashes = np.concatenate(parts)
    hashes: Hashes = rows.column("event_hash").to_numpy()
    return hashes ^ keys
