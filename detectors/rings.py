"""Windows as sums of ring buckets, never by subtraction: 64 one-second and 64 one-minute buckets per key.

A bucket is current when its stamp says so; a stale one counts as empty and is overwritten when its turn comes.
Counts saturate instead of wrapping; money is whole nano-dollars.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.rows import COST, REQUESTS, SECOND, SLOT, TOKENS, TS
from detectors.state import Array, Fields, State

METRICS: Final = ("requests", "tokens", "usd")
SCALES: Final = ("10s", "1m", "10m", "1h")
SCALES_S: Final = (10, 60, 600, 3600)
WINDOWS: Final = tuple(f"{metric}_{scale}" for metric in METRICS for scale in SCALES)
"""The order of a key's twelve window sums."""
BUCKETS: Final = 64
_LAST: Final = BUCKETS - 1
_CHUNK: Final = 1024  # rows of a chunk stay in the second-level cache
_RINGS: Final = (("fine", 1), ("minute", 60))
_COLUMNS: Final = (("requests", REQUESTS), ("tokens", TOKENS), ("cost", COST))

FIELDS: Final[Fields] = {
    f"{ring}_{name}": (dtype, (BUCKETS,))
    for ring, _ in _RINGS
    for name, dtype in (("stamp", "i4"), ("requests", "i4"), ("tokens", "i4"), ("cost", "i8"))
}


def fold(columns: State, rows: Array) -> None:
    """Add rows (one scoring second per slot) to both rings; rows older than a ring are left out of it.

    >>> from detectors.rows import WIDTH
    >>> columns = {name: np.zeros((1, *shape), dtype) for name, (dtype, shape) in FIELDS.items()}
    >>> rows = np.zeros((WIDTH, 2), np.int64)
    >>> rows[SECOND], rows[TS], rows[REQUESTS] = 1000, [1000, 995], [2, 3]
    >>> fold(columns, rows)
    >>> sums(columns, np.array([0]), np.array([1000]))[0, :2].tolist()
    [5.0, 5.0]
    """
    for ring, width_s in _RINGS:
        stamps = rows[TS] // width_s
        young = stamps > rows[SECOND] // width_s - BUCKETS
        part = rows if young.all() else rows[:, young]
        stamps = stamps if young.all() else stamps[young]
        at = part[SLOT] * BUCKETS + (stamps & _LAST)
        stamp = columns[f"{ring}_stamp"].reshape(-1)
        stale = stamp[at] != stamps
        reset = at[stale]
        stamp[reset] = stamps[stale]
        for name, source in _COLUMNS:
            column = columns[f"{ring}_{name}"].reshape(-1)
            column[reset] = 0
            add_saturating(column, at, part[source])


def add_saturating(column: Array, at: Array, values: Array) -> None:
    """`column[at] += values` for values >= 0, repeated places included, stopping at the type's greatest number."""
    if len(at) == 0:
        return
    limit = int(np.iinfo(column.dtype).max)
    worst = float(column[at].max()) + float(values.sum(dtype=np.float64))
    if worst < limit * 0.99:
        np.add.at(column, at, values.astype(column.dtype))
        return
    order = np.argsort(at, kind="stable")
    places, starts = np.unique(at[order], return_index=True)
    for place, part in zip(places.tolist(), np.split(values[order], starts[1:]), strict=True):
        column[place] = min(int(column[place]) + sum(part.tolist()), limit)


def sums(columns: State, slots: Array, second: Array) -> Array:
    """The twelve window sums of each slot as of its second, in the order of `WINDOWS`; USD as dollars."""
    result = counts(columns, slots, second)
    result[:, 8:] /= 1e9
    return result


def counts(columns: State, slots: Array, second: Array) -> Array:
    """The same in whole numbers, USD as nano-dollars: what is added to them is exact too."""
    result = np.empty((len(slots), len(WINDOWS)))
    for start in range(0, len(slots), _CHUNK):
        part = slice(start, start + _CHUNK)
        for scale, (ring, width_s) in enumerate((_RINGS[0], _RINGS[0], _RINGS[1], _RINGS[1])):
            now = second[part] // width_s
            reach = 10 if scale in {0, 2} else 60
            summed = _short if reach == 10 else _long
            summed(columns, ring, slots[part], now, result[part, scale::4])
    return result


def _short(columns: State, ring: str, slots: Array, now: Array, out: Array) -> None:
    """Ten newest buckets, picked one by one; [10, n], for sums over short rows take twice as long."""
    wanted = now - np.arange(10)[:, None]
    at = slots * BUCKETS + (wanted & _LAST)
    current = columns[f"{ring}_stamp"].take(at) == wanted
    for metric, (name, _) in enumerate(_COLUMNS):
        out[:, metric] = (columns[f"{ring}_{name}"].take(at) * current).sum(axis=0)


def _long(columns: State, ring: str, slots: Array, now: Array, out: Array) -> None:
    """Sixty newest buckets: nearly the whole ring, so it is taken whole."""
    current = columns[f"{ring}_stamp"].take(slots, axis=0) > (now - 60)[:, None]
    for metric, (name, _) in enumerate(_COLUMNS):
        out[:, metric] = (columns[f"{ring}_{name}"].take(slots, axis=0) * current).sum(axis=1)


def add_rows(totals: Array, at: Array, rows: Array, clock_s: int) -> None:
    """Add rows not folded yet to window sums as of the clock; `at` is each row's place in `totals`."""
    for scale, (width_s, reach) in enumerate(((1, 10), (1, 60), (60, 10), (60, 60))):
        current = rows[TS] // width_s > clock_s // width_s - reach
        for metric, (_, source) in enumerate(_COLUMNS):
            unit = 1e-9 if source == COST else 1.0
            np.add.at(totals[:, metric * 4 + scale], at[current], rows[source, current] * unit)
