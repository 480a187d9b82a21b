"""Rows of a frame to the partitions their keys live on."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.partition import partition_of

_WORTH_A_LOOK: Final = 4  # a dictionary with fewer entries than a part of the rows is carried on as it is
Ints = npt.NDArray[np.int64]


def split_by_partition(frame: pa.RecordBatch, partitions: int, order: Ints | None = None) -> dict[int, pa.RecordBatch]:
    """Partition → its rows; partitions without rows are left out. `order` says which rows go on and in which order;
    None is all of them, as they are.
    """
    if frame.num_rows == 0 or (order is not None and len(order) == 0):
        return {}
    keys = frame.column("key_id")
    of_key = np.array([partition_of(key, partitions) for key in keys.dictionary.to_pylist()], np.int32)
    of_row = of_key[keys.indices.to_numpy()]
    if order is None:
        order = np.arange(frame.num_rows)
    else:
        of_row = of_row[order]
    present = np.flatnonzero(np.bincount(of_row, minlength=partitions)).tolist()
    return {p: compact(frame.take(pa.array(order[of_row == p]))) for p in present}


def compact(part: pa.RecordBatch) -> pa.RecordBatch:
    """Drop the dictionary entries that no row has: those of other partitions, and those of rows long gone."""
    columns = [
        _used_only(column)
        if pa.types.is_dictionary(column.type) and len(column.dictionary) * _WORTH_A_LOOK > len(column)
        else column
        for column in part.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=part.schema)


def _used_only(column: pa.DictionaryArray) -> pa.DictionaryArray:
    size, indices = len(column.dictionary), column.indices
    at = indices.fill_null(size).to_numpy() if indices.null_count else indices.to_numpy()
    used = np.zeros(size + 1, np.bool_)
    used[at] = True
    kept = np.flatnonzero(used[:size])
    if len(kept) == size:
        return column
    place = np.cumsum(used, dtype=np.int32) - 1
    mask = at == size if indices.null_count else None
    return pa.DictionaryArray.from_arrays(
        pa.array(place[at], pa.int32(), mask=mask), column.dictionary.take(pa.array(kept))
    )
