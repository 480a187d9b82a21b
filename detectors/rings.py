"""Windows as sums of ring buckets, never by subtraction: 64 one-second and 64 one-minute buckets per key.

Which buckets count is a bit of each: those of the 64 seconds (minutes) up to the key's last folded second that were
used. The others are stale, count as empty and are overwritten when their turn comes. Counts saturate instead of
wrapping; money is whole nano-dollars.
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
_RINGS: Final = {"fine": 1, "minute": 60}
_COLUMNS: Final = (("requests", REQUESTS), ("tokens", TOKENS), ("cost", COST))

_PLACES: Final = np.arange(BUCKETS)
_BIT: Final = np.array([1 << place for place in range(BUCKETS)], "<u8")
_SPANS: Final = np.array([
    [sum(1 << (first + at) % BUCKETS for at in range(count)) for count in range(BUCKETS + 1)]
    for first in range(BUCKETS)
], "<u8")  # fmt: skip
"""The bits of `count` buckets from one on; a shift by an array takes ten times as long as a look into a table."""

_COUNTED: Final[Fields] = {
    "live": ("<u8", ()), "requests": ("i4", (BUCKETS,)), "tokens": ("i4", (BUCKETS,)), "cost": ("i8", (BUCKETS,))
}  # fmt: skip
FIELDS: Final[Fields] = {"ring_second": ("i4", ())} | {
    f"{ring}_{name}": field for ring in _RINGS for name, field in _COUNTED.items()
}
"""`ring_second` is the last that was folded, `live` has a bit for each bucket that counts."""
STORED: Final = tuple(f"{ring}_{name}" for ring in _RINGS for name in ("stamp", "requests", "tokens", "cost"))
"""Of `stored`, what is of the rings."""


def turn(columns: State, slots: Array, second: Array) -> None:
    """The clock of these keys comes to a second, never before their last: what falls out of their rings is stale."""
    before = columns["ring_second"][slots]
    columns["ring_second"][slots] = second
    for ring, width_s in _RINGS.items():
        last, newest = before // width_s, second // width_s
        columns[f"{ring}_live"][slots] &= ~_span(last + 1, newest - last)


def fold(columns: State, rows: Array) -> None:
    """Add rows to both rings, each row's second being the one that its key has come to; rows older than a ring are left
    out of it.

    >>> from detectors.rows import WIDTH
    >>> columns = {name: np.zeros((1, *shape), dtype) for name, (dtype, shape) in FIELDS.items()}
    >>> rows = np.zeros((WIDTH, 2), np.int64)
    >>> rows[SECOND], rows[TS], rows[REQUESTS] = 1000, [1000, 995], [2, 3]
    >>> turn(columns, np.array([0]), np.array([1000]))
    >>> fold(columns, rows)
    >>> sums(columns, np.array([0]), np.array([1000]))[0, :2].tolist()
    [5.0, 5.0]
    """
    for ring, width_s in _RINGS.items():
        newest, stamps = rows[SECOND] // width_s, rows[TS] // width_s
        young = stamps > newest - BUCKETS
        if young.all():
            _add(columns, ring, rows, stamps, newest)
        else:
            _add(columns, ring, rows[:, young], stamps[young], newest[young])


def _add(columns: State, ring: str, rows: Array, stamps: Array, newest: Array) -> None:
    live, slots, bucket = columns[f"{ring}_live"], rows[SLOT], stamps & _LAST
    bit, at = _BIT.take(bucket), slots * BUCKETS + bucket
    known = live.take(slots)
    reset = at[known & bit == 0]
    for name, source in _COLUMNS:
        column = columns[f"{ring}_{name}"].reshape(-1)
        column[reset] = 0
        add_saturating(column, at, rows[source])
    if (stamps == newest).all():  # each key's rows have one bucket
        live[slots] = known | bit
    else:
        np.bitwise_or.at(live, slots, bit)


def _span(first: Array, count: Array) -> Array:
    """The bits of so many buckets from one on.

    >>> [f"{bits:064b}".strip("0") for bits in _span(np.array([63, 64, 5]), np.array([2, -1, 3])).tolist()]
    ['1000000000000000000000000000000000000000000000000000000000000001', '', '111']
    """
    return _SPANS.take((first & _LAST) * (BUCKETS + 1) + np.minimum(np.maximum(count, 0), BUCKETS))


def unpacked(bits: Array) -> Array:
    """[n, 64], one for each bucket."""
    return np.unpackbits(bits.view("u1").reshape(-1, 8), axis=1, bitorder="little").view(bool)


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
        for scale, (ring, width_s) in enumerate(_RINGS.items()):
            now, some = second[part] // width_s, slots[part]
            bits = current(columns, ring, some, now)
            _short(columns, ring, some, now, bits, result[part, 2 * scale :: 4])
            _long(columns, ring, some, bits, result[part, 2 * scale + 1 :: 4])
    return result


def current(columns: State, ring: str, slots: Array, now: Array) -> Array:
    """A bit for each used bucket of the sixty newest as of a second or minute, which is not before the last folded."""
    newest = columns["ring_second"][slots] // _RINGS[ring]
    within: Array = columns[f"{ring}_live"][slots] & _span(now - 59, newest - now + 60)
    return within


def _short(columns: State, ring: str, slots: Array, now: Array, bits: Array, out: Array) -> None:
    """Ten newest buckets, picked one by one; [10, n], for sums over short rows take twice as long."""
    place = (now - np.arange(10)[:, None]) & _LAST
    at, used = slots * BUCKETS + place, _BIT.take(place) & bits != 0
    for metric, (name, _) in enumerate(_COLUMNS):
        out[:, metric] = (columns[f"{ring}_{name}"].take(at) * used).sum(axis=0)


def _long(columns: State, ring: str, slots: Array, bits: Array, out: Array) -> None:
    """Sixty newest buckets: nearly the whole ring, so it is taken whole."""
    used = unpacked(bits)
    for metric, (name, _) in enumerate(_COLUMNS):
        out[:, metric] = (columns[f"{ring}_{name}"].take(slots, axis=0) * used).sum(axis=1)


def add_rows(totals: Array, at: Array, rows: Array, clock_s: int) -> None:
    """Add rows not folded yet to window sums as of the clock; `at` is each row's place in `totals`."""
    for scale, (width_s, reach) in enumerate(((1, 10), (1, 60), (60, 10), (60, 60))):
        current = rows[TS] // width_s > clock_s // width_s - reach
        for metric, (_, source) in enumerate(_COLUMNS):
            unit = 1e-9 if source == COST else 1.0
            np.add.at(totals[:, metric * 4 + scale], at[current], rows[source, current] * unit)


def stored(state: State, clock_s: int) -> State:
    """Rows of keys as a checkpoint has them: each bucket with its second or minute, zero where no window will read it
    again. The same history gives the same.
    """
    told = {name: values for name, values in state.items() if name != "ring_second"}
    for ring, width_s in _RINGS.items():
        newest = state["ring_second"][:, None] // width_s
        stamps = newest - (newest - _PLACES & _LAST)
        kept = unpacked(state[f"{ring}_live"]) & (stamps > clock_s // width_s - BUCKETS)
        told[f"{ring}_live"] = np.where(kept, stamps, 0).astype("i4")
        told |= {f"{ring}_{name}": np.where(kept, state[f"{ring}_{name}"], 0) for name, _ in _COLUMNS}
    return {name.replace("_live", "_stamp"): values for name, values in told.items()}


def restored(state: State) -> State:
    """Rows of keys again, from `stored`."""
    told = {name.replace("_stamp", "_live"): values for name, values in state.items()}
    second = np.max([state[f"{ring}_stamp"].max(axis=1) * width_s for ring, width_s in _RINGS.items()], axis=0)
    for ring in _RINGS:
        used = np.packbits(state[f"{ring}_stamp"] > 0, axis=1, bitorder="little")
        told[f"{ring}_live"] = used.view("<u8")[:, 0]
    return {"ring_second": second.astype("i4"), **told}
