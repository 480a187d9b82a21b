"""Slow ramps: Page-Hinkley on how far each active block exceeds a frozen baseline, the maxima of earlier days.

The velocity family follows a slow ramp, because it learns each block. This baseline moves only when a day has ended,
and by a bounded factor: it is the slow one that watches the fast one.

Healthy and looks the same: a product that grows by more than a fifth a day. Nothing burns this minute: look at the
key's last days.

To turn: `alarm_per_key_week` first; `delta` is the growth that is tolerated for good.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number, times
from detectors.rings import WINDOWS
from detectors.river_models import page_hinkley
from detectors.state import Array, Fields, State, highest
from detectors.velocity import FLOOR
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "drift"
_HOURLY: Final = [WINDOWS.index(name) for name in ("requests_1h", "tokens_1h", "usd_1h")]
_FLOOR: Final = FLOOR[_HOURLY]
_CLIP: Final = 3.0
_RISE_PER_DAY: Final = 1.2
_FADE_PER_DAY: Final = 0.87
_BLOCKS_PER_DAY: Final = 144
_UNIT: Final = 12.0  # of the statistic: a raw score of 1
_STARTS_AFRESH: Final = 36.0  # the statistic at which everything has been said
LEARNING_DAYS: Final = 2
FIELDS: Final[Fields] = {
    "drift_now": ("f4", (3,)),  # greatest hourly sums within this block
    "drift_today": ("f4", (3,)),  # within this day
    "drift_base": ("f4", (3,)),  # the frozen baseline: decayed maxima of the days before
    "drift_days": ("u1", ()),  # active days completed, saturating
    "drift_test": ("f4", (4,)),  # Page-Hinkley: n, mean, sum, smallest sum
}


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: a twelfth of the Page-Hinkley statistic, when a block has just ended.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["drift_days"][:], state["drift_base"][:] = 3, (40, 60e3, 0.2)
    >>> raws = []
    >>> for block in range(80):
    ...     at = closing(usd_1h=0.1 if block < 50 else 20.0, elapsed=1, windows=300 + block)
    ...     state, raw = step(state, at, DetectorSettings())
    ...     raws.append(raw.item())
    >>> [round(raw, 1) for raw in raws[50:58]]
    [0.0, 0.2, 0.4, 0.7, 0.9, 1.1, 1.3, 1.5]
    """
    new = {name: values.copy() for name, values in state.items()}
    raw = np.zeros(len(close.second))
    at = np.flatnonzero(close.turned)
    if len(at):
        raw[at] = _test(new, at, settings)
        _end_day(new, close, at)
        new["drift_now"][at] = 0
    new["drift_now"] = np.maximum(new["drift_now"], close.sums[:, _HOURLY]).astype("f4")
    return new, raw


def _test(new: State, at: Array, settings: DetectorSettings) -> Array:
    """Feed the ended block to the test of each key that has a baseline."""
    block, base = new["drift_now"][at].astype("f8"), new["drift_base"][at].astype("f8")
    excess = np.clip(highest(np.log((block + _FLOOR) / (base + _FLOOR))), 0.0, _CLIP)
    known = new["drift_days"][at] >= LEARNING_DAYS
    test = new["drift_test"][at].astype("f8")
    stepped, ratio = page_hinkley(test, excess, delta=settings.drift.delta, threshold=_STARTS_AFRESH)
    new["drift_test"][at] = np.where(known[:, None], stepped, test)
    above = excess > settings.drift.delta  # what is over is not told once more
    raw: Array = np.where(known & above, ratio * _STARTS_AFRESH / _UNIT, 0.0)
    new["drift_today"][at] = np.maximum(new["drift_today"][at], block)
    return raw


def _end_day(new: State, close: Close, at: Array) -> None:
    """Where the ended block was the last of its day, the day joins the baseline by a bounded step."""
    ended = (close.block - close.elapsed[at]) // _BLOCKS_PER_DAY
    days = close.block // _BLOCKS_PER_DAY - ended
    over = days > 0
    done = at[over]
    base, today = new["drift_base"][done].astype("f8"), new["drift_today"][done].astype("f8")
    learning = (new["drift_days"][done] < LEARNING_DAYS) | close.is_confirmed(FAMILY)[done]
    rise = np.where(learning, np.inf, _RISE_PER_DAY)[:, None]
    bounded = np.minimum(today, (base + _FLOOR) * rise)
    new["drift_base"][done] = np.maximum(base * (_FADE_PER_DAY ** days[over])[:, None], bounded)
    new["drift_today"][done] = 0
    new["drift_days"][done] = np.minimum(new["drift_days"][done], 254) + 1


def beyond(state: State, close: Close, raw: Array, expected: Array) -> Array:
    """The raw score where the last hour is further above the frozen baseline than people expect, else 0.

    `expected` is the natural log of the multiple. The statistic adds up over hours: it cannot be lessened by it.
    """
    now, base = close.sums[:, _HOURLY] + _FLOOR, state["drift_base"].astype("f8") + _FLOOR
    excused = (expected > 0) & (highest(np.log(now / base)) <= expected)
    left: Array = np.where(excused, 0.0, raw)
    return left


def explain(state: State, close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:
    """What the key does now against the baseline of earlier days."""
    now, base = close.sums[at, _HOURLY], state["drift_base"][at].astype("f8")
    lead = int(((now + _FLOOR) / (base + _FLOOR)).argmax())
    unit = ("requests", "tokens", "USD")[lead]
    more = float(now[lead] / max(base[lead], 0.1 * _FLOOR[lead]))
    evidence: dict[str, float | str] = {
        "observed": float(now[lead]), "expected": float(base[lead]), "window_s": 3600.0, "ratio": more,
        "statistic": raw,
    }  # fmt: skip
    what = (
        f"has kept above its earlier days: {number(float(now[lead]))} {unit} in the last hour, "
        f"its earlier peak is {number(float(base[lead]))} ({times(more)})"
    )
    return Told("page_hinkley", what, evidence)
