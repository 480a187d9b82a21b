"""What a request costs and how much it asks: the last minutes against the most that is usual for the key.

A key that now and then sends something long has a high usual peak, so that it is not accused of it. What a lost cache
can explain is taken off. Refused and failed requests do not count, what gets cheaper is no alarm, and how many requests
there are is for `velocity`.

Healthy and looks the same: a new prompt, a new model, a new batch. With `mix` beside it the model was switched;
without, the prompts grew. A new price is learned within hours.

To turn: `alarm_per_key_week` first; `min_requests` where new keys are still being tried out.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors import slots
from detectors.close import Close, Shared, Told
from detectors.explain import number, percent, times
from detectors.rows import CACHED, COST, FAILED, INPUT, REFUSED, REQUESTS, SLOT
from detectors.state import Array, Fields, State, highest
from detectors.velocity import lasting_usd_per_min
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "economics"
FIELDS: Final[Fields] = {
    "eco_fast": ("f4", (4,)),  # answered requests, USD, input tokens, cached ones: of the last minutes
    "eco_fast_at": ("i4", ()),  # second to which they are faded
    "eco_now": ("f4", (4,)),  # the same within this block
    "eco_usual": ("f4", (2,)),  # log USD and log input tokens per request of an active block
    "eco_peak": ("f2", (2,)),  # how far above that the last minutes were at most in this block
    "eco_top": ("f4", (2,)),  # and usually are: the decayed maximum
    "eco_cached": ("f2", ()),  # usual share of input that comes from a cache
    "eco_level": ("f4", ()),  # usual answered requests of an active block
    "eco_blocks": ("u2", ()),  # active blocks that made these up, saturating
}
_FADE_S: Final = 300.0  # the last minutes,
_FADE_REQUESTS: Final = 6.0  # or the last requests of a key that makes few
_LEAST: Final = np.array([1e-6, 1.0])  # added per request: what costs nothing has a logarithm too
_SLOWEST: Final = 1 / 144  # an active block never counts less than this in the usual values
_ALARMED_WEIGHT: Final = 0.1
_CLIP: Final = 1.5  # natural logs that a block may be from the usual, to teach more
_INERTIA: Final = 0.1  # of a usual block's requests must be unlike it for a change to count half
_LEAST_INERTIA: Final = 1.0
_BELOW_PEAK: Final = (
    0.4  # natural logs below the usual peak at which a score begins: the healthy ones are to be counted
)
_ONE_ODD: Final = 1.0  # requests at which an opinion counts half: a single one proves little
_GROWN_UP: Final = 6.0  # blocks at which an opinion counts half
_TOP_FADE: Final = 0.9995  # per active block
_RISE: Final = 1.0  # natural logs by which a maximum may grow in a healthy block
_RISE_ALARMED: Final = 0.2  # and in an alarmed one
_CACHE_DISCOUNT: Final = 0.9  # of the price of input that providers give for cached tokens
_LEAST_USD_PER_MIN: Final = 0.002  # three dollars a day: below it a dear request wakes nobody
_NAMES: Final = ("usd_per_request", "input_per_request")


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: natural log of USD or input tokens per request over the usual peak of the key, whichever is more.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["eco_usual"][0], state["eco_level"][0], state["eco_blocks"][0] = np.log([0.01, 800]), 10, 100
    >>> at = dict(row_requests=20, row_tokens=20_000, row_input=16_000)
    >>> both = [step(state, closing(cost_usd=usd, **at), DetectorSettings()) for usd in (0.2, 6.0)]
    >>> [round(float(raw[0]), 1) for _, raw in both]
    [0.0, 3.0]
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    amounts = _amounts(close)
    kept = np.maximum(np.exp((new["eco_fast_at"] - close.second) / _FADE_S), 1 - amounts[:, 0] / _FADE_REQUESTS)
    new["eco_fast"] = (new["eco_fast"] * kept[:, None] + amounts).astype("f4")
    new["eco_fast_at"] = close.second.astype("i4")
    new["eco_now"] += amounts
    above = _above(new)
    new["eco_peak"] = np.maximum(new["eco_peak"], above).astype("f2")
    raw = np.maximum(highest(_beyond(new, above)), 0.0)
    return new, np.where(close.requests >= settings.economics.min_requests, raw, 0.0)


def _amounts(close: Close) -> Array:
    """[n, 4] of the second; what was refused or failed cost nothing and says nothing."""
    rows = close.rows[:, close.rows[REQUESTS] > close.rows[REFUSED] + close.rows[FAILED]]
    n, key = len(close.second), rows[SLOT]
    answered = rows[REQUESTS] - rows[REFUSED] - rows[FAILED]
    summed = [slots.tally((n,), (key,), row) for row in (answered, rows[COST], rows[INPUT], rows[CACHED])]
    amounts: Array = np.maximum(np.stack(summed, axis=1) * np.array([1.0, 1e-9, 1.0, 1.0]), 0.0)
    return amounts.astype("f4")


def _ratio(new: State, sums: Array, at: Array | slice) -> Array:
    """[n, 2] log of what a request is now over what it usually is; few requests weigh little against the usual."""
    usual, level = new["eco_usual"][at].astype("f8"), new["eco_level"][at].astype("f8")[:, None]
    inertia = np.maximum(_INERTIA * level, _LEAST_INERTIA)
    requests = sums[:, :1].astype("f8")
    ratio = (sums[:, 1:3] / np.maximum(requests, 1e-9) + _LEAST) / np.exp(usual)
    log_ratio: Array = np.log((requests * ratio + inertia) / (requests + inertia))
    return log_ratio


def _above(new: State) -> Array:
    """[n, 2] how far the last minutes are above the usual; a lost cache is taken off, it is the owner's own doing."""
    fast = new["eco_fast"].astype("f8")
    above = _ratio(new, fast, slice(None))
    share = np.clip(fast[:, 3] / np.maximum(fast[:, 2], 1.0), 0.0, 1.0)
    before = np.clip(new["eco_cached"].astype("f8"), 0.0, 1.0)
    excuse = np.log((1 - _CACHE_DISCOUNT * share) / (1 - _CACHE_DISCOUNT * before))
    above[:, 0] -= np.maximum(excuse, 0.0)
    return above


def _beyond(new: State, above: Array) -> Array:
    """[n, 2] how far that is beyond the usual peak, less while little is known or little has been asked."""
    blocks, requests = new["eco_blocks"].astype("f8"), new["eco_fast"][:, 0].astype("f8")
    trust = blocks / (blocks + _GROWN_UP) * requests / (requests + _ONE_ODD)
    beyond: Array = (above - np.maximum(new["eco_top"] - _BELOW_PEAK, 0.0)) * trust[:, None]
    return beyond


def _learn(new: State, close: Close) -> None:
    """Where a block with answers has ended it joins the usual values, within bounds, with little weight if alarmed."""
    at = np.flatnonzero(close.turned & (new["eco_now"][:, 0] > 0))
    block, blocks, alarmed = new["eco_now"][at].astype("f8"), new["eco_blocks"][at], close.alarmed(FAMILY)[at]
    first = blocks == 0
    new["eco_usual"][at[first]] = np.log(block[first, 1:3] / block[first, :1] + _LEAST)
    new["eco_level"][at[first]] = block[first, 0]
    rate = np.maximum(1 / (blocks + 1.0), _SLOWEST) * np.where(alarmed, _ALARMED_WEIGHT, 1.0)
    new["eco_usual"][at] += rate[:, None] * np.clip(_ratio(new, block, at), -_CLIP, _CLIP)
    new["eco_cached"][at] += rate * (block[:, 3] / np.maximum(block[:, 2], 1.0) - new["eco_cached"][at])
    new["eco_level"][at] += rate * (np.minimum(block[:, 0], 10 * new["eco_level"][at] + 10) - new["eco_level"][at])
    new["eco_blocks"][at] = np.minimum(blocks.astype("i8") + 1, 65_535)
    top = new["eco_top"][at].astype("f8")
    risen = np.minimum(new["eco_peak"][at], top + np.where(alarmed, _RISE_ALARMED, _RISE)[:, None])
    new["eco_top"][at] = np.where(first[:, None], 0.0, np.maximum(top * _TOP_FADE, risen))
    for name in ("eco_now", "eco_peak"):
        new[name][close.turned] = 0


def judged(
    _state: State, close: Close, raw: Array, _shared: Shared, _settings: DetectorSettings
) -> tuple[Array, Array]:
    """Told where there is any money in it."""
    return raw, lasting_usd_per_min(close) >= _LEAST_USD_PER_MIN


def explain(state: State, _close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """What a request is now and usually, in the unit that is further beyond its peak."""
    mine = {name: values[at : at + 1] for name, values in state.items()}
    lead = int(_beyond(mine, _above(mine))[0].argmax())
    fast = mine["eco_fast"][0].astype("f8")
    observed = float(fast[1 + lead] / max(float(fast[0]), 1e-9))
    usual, top = float(mine["eco_usual"][0, lead]), float(mine["eco_top"][0, lead])
    expected = max(float(np.exp(usual)) - float(_LEAST[lead]), float(_LEAST[lead]))
    cached, before = float(fast[3] / max(float(fast[2]), 1.0)), float(mine["eco_cached"][0])
    evidence: dict[str, float | str] = {
        "observed": observed, "expected": expected, "window_s": _FADE_S, "ratio": observed / expected,
        "usual_peak": expected * float(np.exp(top)), "requests": float(fast[0]),
        "cached_share": cached, "usual_cached_share": before,
    }  # fmt: skip
    verb, unit = (("pays", "USD"), ("sends", "input tokens"))[lead]
    what = (
        f"{verb} {number(observed)} {unit} per request in the last minutes, its usual is {number(expected)} "
        f"and its peak {number(expected * float(np.exp(top)))} ({times(observed / expected)})"
    )
    if before - cached >= 0.3:
        what += f"; {percent(cached)} of the input comes from a cache, usually {percent(before)}"
    return Told(_NAMES[lead], what, evidence)
