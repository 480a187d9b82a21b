"""Rows of a frame to the partitions their keys live on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from schemas.partition import partition_of


def split_by_partition(frame: pa.RecordBatch, partitions: int) -> dict[int, pa.RecordBatch]:
    """Partition → its rows, in the order they had; partitions without rows are left out."""
    if frame.num_rows == 0:
        return {}
    keys = frame.column("key_id")
    of_key = np.array([partition_of(key, partitions) for key in keys.dictionary.to_pylist()], np.int32)
    of_row = of_key[keys.indices.to_numpy()]
    present = np.flatnonzero(np.bincount(of_row, minlength=partitions)).tolist()
    if len(present) == 1:
        return {present[0]: frame}
    return {p: compact(frame.take(pa.array(np.flatnonzero(of_row == p)))) for p in present}


def compact(part: pa.RecordBatch) -> pa.RecordBatch:
    """Drop the dictionary entries that went to other partitions, where they outnumber the rows."""
    columns = [
        _used_only(column) if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column) else column
        for column in part.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=part.schema)


def _used_only(column: pa.DictionaryArray) -> pa.DictionaryArray:
    decoded: pa.DictionaryArray = column.dictionary_decode().dictionary_encode()
    return decoded
