"""Number and time columns: the same bounds and types as the event model, checked on whole vectors."""

from __future__ import annotations

from types import NoneType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.event import MAX_TS_MS, MIN_TS_MS, parse_ts_ms
from sources.cells import Doubt
from sources.limits import Limits

_MICROSECONDS: Final = pa.timestamp("us", tz="UTC")
_MS_FROM: Final = 100_000_000_000  # as in parse_ts_ms: a larger number is milliseconds, a smaller one seconds

Vector = np.ndarray[tuple[int], np.dtype[Any]]


def wholes(values: list[Any], limits: Limits) -> Vector:
    """Whole numbers, the absent ones filled; no bool, no float, none out of bounds."""
    kinds = set(map(type, values))
    if kinds == {NoneType}:
        return np.full(len(values), limits.absent, np.int64)
    if not kinds <= {int, NoneType}:
        raise Doubt
    filled = values if NoneType not in kinds else [limits.absent if value is None else value for value in values]
    return _bounded(filled, np.int64, limits)


def optional_wholes(values: list[Any], limits: Limits) -> pa.Array:
    """Whole numbers that may be missing: a missing one is null."""
    kinds = set(map(type, values))
    if kinds == {NoneType}:
        return pa.nulls(len(values), pa.uint32())
    if not kinds <= {int, NoneType}:
        raise Doubt
    filled = _bounded([limits.low if value is None else value for value in values], np.int64, limits)
    return pa.array(filled.astype(np.uint32), mask=np.array([value is None for value in values]))


def fractions(values: list[Any], limits: Limits) -> Vector:
    """Numbers as floats; a missing one is NaN."""
    if not set(map(type, values)) <= {int, float, NoneType}:
        raise Doubt
    return _bounded(values, np.float64, limits)


def _bounded(values: list[Any], kind: type[np.int64 | np.float64], limits: Limits) -> Vector:
    try:
        vector = np.array(values, kind)
    except OverflowError:
        raise Doubt from None
    if ((vector < limits.low) | (vector > limits.high)).any():
        raise Doubt
    return vector


def times(values: list[Any], latest_ms: int | None) -> Vector:
    """Milliseconds since the epoch, as `parse_ts_ms` gives them."""
    kinds = set(map(type, values))
    if kinds == {str}:
        ts_ms = _texts_ms(values)
    elif kinds <= {int, float}:
        ts_ms = _numbers_ms(values)
    else:
        ts_ms = _each_ms(values)
    if ts_ms.min() < MIN_TS_MS or ts_ms.max() >= MAX_TS_MS or (latest_ms is not None and ts_ms.max() > latest_ms):
        raise Doubt
    whole: Vector = ts_ms.astype(np.int64)
    return whole


def _texts_ms(values: list[str]) -> Vector:
    """Arrow reads fewer spellings than Python; those it reads, ending in Z, mean the same."""
    texts = pa.array(values, pa.string())
    if not pc.all(pc.ends_with(texts, "Z")).as_py():
        return _each_ms(values)
    try:
        micros = texts.cast(_MICROSECONDS)
    except pa.ArrowInvalid:
        return _each_ms(values)
    seconds = micros.view(pa.int64()).to_numpy() / 1e6  # the very float that datetime.timestamp() gives
    ts_ms: Vector = np.rint(seconds * 1000)
    return ts_ms


def _numbers_ms(values: list[int | float]) -> Vector:
    numbers = np.array(values, np.float64)
    ts_ms: Vector = np.rint(numbers * np.where(np.abs(numbers) < _MS_FROM, 1000.0, 1.0))
    return ts_ms


def _each_ms(values: list[Any]) -> Vector:
    try:
        return np.array([parse_ts_ms(value) for value in values], np.float64)
    except ValueError:
        raise Doubt from None
