"""The last hours of a key beside its normal: kept in a byte for ten minutes, drawn up only for a finding that is told.

The running ten minutes are summed exactly; what is over is kept in logarithmic steps of a tenth, which a picture does
not show. A key that rested for a day or more is remembered as having come back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.changes import changes
from detectors.close import Close, Shared
from detectors.explain import rounded
from detectors.rings import BUCKETS, WINDOWS, add_saturating, current, unpacked
from detectors.rows import BLOCK_S, COST, SLOT
from detectors.state import Array, Fields, State
from schemas.records import Scaled, Sketch

TENS: Final = 138  # with the last hour, which is kept by minute, a day
_DAY: Final = 144
FIELDS: Final[Fields] = {
    "sk_spend": ("u1", (TENS,)),  # by block: 0 not known, 1 nothing spent, else steps of the logarithm
    "sk_now": ("i8", ()),  # nano-dollars of the running block
    "sk_back": ("i4", ()),  # block of the last return after a day of silence or more
    "sk_rest": ("u2", ()),  # blocks of silence before it, saturating
}
_MINUTES: Final = 60
_LEAST_USD: Final = 1e-5
_STEP: Final = 10.0 ** (10 / 253)
_LEVELS: Final = _LEAST_USD * _STEP ** np.arange(254)  # the last is 100,000 USD in ten minutes
_EDGES: Final = _LEVELS / _STEP**0.5  # halfway between neighbours
_USD_1M, _USD_10M = WINDOWS.index("usd_1m"), WINDOWS.index("usd_10m")


def fold(columns: State, slots: Array, close: Close, rows: Array) -> None:
    """Add a wave of rows to the running blocks, after ending those that are over. `rows` hold slots, not places."""
    turned = np.flatnonzero(close.turned)
    if len(turned):
        _end(columns, slots[turned], close.block, close.elapsed[turned])
    add_saturating(columns["sk_now"], rows[SLOT], rows[COST])


def _end(columns: State, slots: Array, block: int, elapsed: Array) -> None:
    spend = columns["sk_spend"]
    spend[slots, (block - elapsed) % TENS] = codes(columns["sk_now"][slots] / 1e9)
    columns["sk_now"][slots] = 0
    rested = elapsed > 1
    if rested.any():
        at, rest = slots[rested], elapsed[rested] - 1
        age = (block - 1 - np.arange(TENS)) % TENS  # of each place, 0 the block before this one
        spend[at] = np.where(age < rest[:, None], 1, spend[at])
    back = elapsed > _DAY
    columns["sk_back"][slots[back]] = block
    columns["sk_rest"][slots[back]] = np.minimum(elapsed[back] - 1, np.iinfo(np.uint16).max)


def codes(spent_usd: Array) -> Array:
    """Dollars of ten minutes as a byte each, true to a twentieth; below a thousandth of a cent is nothing.

    >>> codes(np.array([0.0, 1e-9, 0.01, 250.0])).tolist()
    [1, 1, 78, 189]
    """
    steps: Array = (1 + np.searchsorted(_EDGES, spent_usd, side="right")).clip(1, 255).astype("u1")
    return steps


def decoded(steps: Array) -> Array:
    """The dollars of `codes`; nan where nothing is known.

    >>> decoded(np.array([0, 1, 78, 189], "u1")).round(4).tolist()
    [nan, 0.0, 0.0101, 246.2092]
    """
    usd: Array = np.where(steps > 1, _LEVELS[np.maximum(steps.astype(int), 2) - 2], 0.0)
    return np.where(steps == 0, np.nan, usd)


def sketch(columns: State, states: dict[str, State], close: Close, shared: Shared, *, slot: int, at: int) -> Sketch:
    """Of one key of a wave that has just been folded.

    Args:
        columns: The table of keys.
        states: What the detectors of the wave know.
        close: The wave's second.
        shared: Names of models and places.
        slot: The key's row in the table.
        at: The key's place in the wave.
    """
    second, windows = int(close.second[at]), int(close.windows[at])
    velocity = states.get("velocity", {})
    rest = int(columns["sk_rest"][slot]) if int(columns["sk_back"][slot]) + 6 > close.block else 0
    top = velocity["vel_top"][at].astype("f8") if velocity else np.zeros(len(WINDOWS))
    return Sketch(
        at_ms=second * 1000,
        minutes=Scaled.of(_minutes(columns, slot, second).tolist()),
        tens=Scaled.of(_tens(columns, slot, second).tolist()),
        by_hour=Scaled.of(_by_hour(velocity, at).tolist()),
        peak_1m=rounded(float(top[_USD_1M])), peak_10m=rounded(float(top[_USD_10M]) / 10), windows=windows,
        changed=changes(states, close, shared, rest_blocks=rest, at=at),
    )  # fmt: skip


def _minutes(columns: State, slot: int, second: int) -> Array:
    """USD of each of the last 60 minutes, as far back as the key's ring or its past in blocks goes."""
    wanted = second // 60 - np.arange(_MINUTES)[::-1]
    places = wanted % BUCKETS
    [used] = unpacked(current(columns, "minute", np.array([slot]), wanted[-1:]))
    return np.where(used[places], columns["minute_cost"][slot, places] / 1e9, 0.0)


def _tens(columns: State, slot: int, second: int) -> Array:
    """USD per minute of each ten minutes that is known; of the running ones over the minutes that have begun."""
    block = second // BLOCK_S
    before = block - np.arange(1, TENS)[::-1]
    past = decoded(columns["sk_spend"][slot, before % TENS]) / 10
    begun_min = second % BLOCK_S // 60 + 1
    known = past[np.argmax(~np.isnan(past)) :] if not np.isnan(past).all() else past[:0]
    return np.append(np.nan_to_num(known, nan=-1.0), columns["sk_now"][slot] / 1e9 / begun_min)


def _by_hour(velocity: State, at: int) -> Array:
    """The most that is normal in ten minutes of each hour, in USD per minute; -1 where the key was never active."""
    if not velocity:
        return np.zeros(0)
    most = velocity["vel_hour"][at].astype("f8") / 10
    return np.where(velocity["vel_hour_n"][at] > 0, most, -1.0)
