"""Number and time columns: the same bounds and types as the event model, checked on whole vectors."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.event import MAX_TS_MS, MIN_TS_MS, parse_ts_ms
from sources.doubt import Doubt
from sources.limits import Limits

_MICROSECONDS: Final = pa.timestamp("us", tz="UTC")
_MS_FROM: Final = 100_000_000_000  # as in parse_ts_ms: a larger number is milliseconds, a smaller one seconds

Vector = np.ndarray[tuple[int], np.dtype[Any]]


def wholes(column: pa.Array, limits: Limits) -> Vector:
    """Whole numbers, the absent ones filled; none out of bounds."""
    return _bounded(column.fill_null(limits.absent), limits)


def optional_wholes(column: pa.Array, limits: Limits) -> pa.Array:
    """Whole numbers that may be missing: a missing one is null."""
    _bounded(column.fill_null(int(limits.low)), limits)
    return column.cast(pa.uint32())


def fractions(column: pa.Array, limits: Limits) -> Vector:
    """Numbers as floats; a missing one is NaN, and none is NaN that was written so."""
    vector: Vector = column.to_numpy(zero_copy_only=False)
    if int(np.isnan(vector).sum()) != column.null_count:
        raise Doubt
    if ((vector < limits.low) | (vector > limits.high)).any():
        raise Doubt
    return vector


def _bounded(column: pa.Array, limits: Limits) -> Vector:
    vector: Vector = column.to_numpy()
    if vector.min() < limits.low or vector.max() > limits.high:
        raise Doubt
    return vector


def times(column: pa.Array, latest_ms: int | None) -> Vector:
    """Milliseconds since the epoch, as `parse_ts_ms` gives them."""
    if column.null_count:
        raise Doubt
    ts_ms = _texts_ms(column) if pa.types.is_string(column.type) else _numbers_ms(column)
    low, high = ts_ms.min(), ts_ms.max()
    if not MIN_TS_MS <= low <= high < MAX_TS_MS or (latest_ms is not None and high > latest_ms):
        raise Doubt
    whole: Vector = ts_ms.astype(np.int64)
    return whole


def _texts_ms(texts: pa.Array) -> Vector:
    """Arrow reads fewer spellings than Python; those it reads, in UTC and saying so, mean the same."""
    if not pc.all(pc.or_(pc.ends_with(texts, "Z"), pc.ends_with(texts, "+00:00"))).as_py():
        return _each_ms(texts)
    try:
        micros = texts.cast(_MICROSECONDS)
    except pa.ArrowInvalid:
        return _each_ms(texts)
    seconds = micros.view(pa.int64()).to_numpy() / 1e6  # the very float that datetime.timestamp() gives
    ts_ms: Vector = np.rint(seconds * 1000)
    return ts_ms


def _numbers_ms(column: pa.Array) -> Vector:
    numbers = column.to_numpy()
    ts_ms: Vector = np.rint(numbers * np.where(np.abs(numbers) < _MS_FROM, 1000.0, 1.0))
    return ts_ms


def _each_ms(texts: pa.Array) -> Vector:
    try:
        return np.array([parse_ts_ms(text) for text in texts.to_pylist()], np.float64)
    except ValueError:
        raise Doubt from None
