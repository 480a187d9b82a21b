"""Requests, tokens and USD over four windows against the decayed maximum of what the key has done.

A key's maxima are learned once per active 10-minute block, one block late: nothing that happens in a block or just
before it can excuse it, wherever the block's edge falls in an attack. The rise of a maximum in one block is bounded, so
that a ramp keeps alarming. Short windows burst by nature, so that their ratios count a little less.

Healthy and looks the same: a launch, a backfill, a loop that retries. These come from the key's own hosts with its own
models: with `origin` or `mix` beside it, think of theft first. What is known beforehand can be announced.

To turn: `alarm_per_key_week` first; `min_usd_per_min` where small keys wake people (below it nobody is woken; for a key
without a past it is twenty times as high); `warmup_windows` where new keys do.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number, times
from detectors.rings import METRICS, SCALES, SCALES_S, WINDOWS
from detectors.state import Array, Fields, State, highest
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "velocity"
FLOOR: Final = np.array([10, 20, 60, 150, 20e3, 40e3, 120e3, 300e3, 0.05, 0.1, 0.3, 0.8])
"""Added to observed and usual alike: from idle to a few requests is not an alarm."""
FIELDS: Final[Fields] = {
    "vel_now": ("f4", (12,)),  # greatest sums within this block
    "vel_held": ("f4", (12,)),  # of the last active block, bounded; it waits one block
    "vel_top": ("f4", (12,)),  # decayed maxima of the blocks before that
    "vel_hour": ("f2", (24,)),  # decayed maximum of USD in 10 minutes by hour of day, UTC
    "vel_hour_n": ("u1", (24,)),  # blocks that made it up, saturating
    "vel_mean": ("f4", ()),  # usual USD per minute while active
}
_HANDICAP: Final = np.tile([1.2, 0.8, 0.0, 0.3], 3)
"""Taken off the log ratio by window: 10 minutes separate thefts from bursts best (measured on real clients)."""
USD_10M: Final = WINDOWS.index("usd_10m")
_TRUSTING: Final = 12  # windows within which everything is learned
_RISE: Final = 2.5  # how many times a maximum may grow in a healthy block
_RISE_ALARMED: Final = 1.5  # and in an alarmed one
_HOURS_KNOWN: Final = 144  # active blocks until the hours of the day are told apart
_HOUR_FADE: Final = 0.99  # per active block of the hour
_HOUR_CAP: Final = 3.0
_HOUR_MOST_USD: Final = 60_000.0  # what two bytes can hold
_YOUNG_FLOOR: Final = 19.0
_YOUTH_HANDICAP: Final = 1.5  # off the log ratio of a key without a past: its own peaks are yet to come
_USD_PER_TOKEN: Final = 1e-6  # a low price: what tokens without a known price are taken to cost at least


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: natural log of the greatest ratio to the key's own maxima, more in hours that are usually quieter.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["vel_top"][:] = 1.0
    >>> _, raw = step(state, closing(usd_1m=100.0), DetectorSettings())
    >>> round(float(raw[0]), 2)
    3.71
    """
    if close.turned.any():
        state = _learn(state, close, settings.velocity.decay_per_10min)
    lead = highest(novelty(close.sums, state["vel_top"]))
    raw = np.maximum(lead + settings.velocity.hour_weight * _quieter(state, close), 0.0)
    return {**state, "vel_now": np.maximum(state["vel_now"], close.sums).astype("f4")}, raw


def novelty(sums: Array, tops: Array) -> Array:
    """log((x + c) / (maximum + c)) by window, less the window's handicap."""
    ratios: Array = np.log((sums + FLOOR) / (tops + FLOOR)) - _HANDICAP
    return ratios


def blended(state: State, close: Close, prior_log: Array, settings: DetectorSettings) -> tuple[Array, Array]:
    """Raw score against the key's maxima lifted towards its cohort's while it is young, and the leading window.

    `prior_log` holds log(maximum + c) of a typical key of the cohort. It can only excuse: a quiet cohort does not
    make a busy key suspicious. Without the handicap six in ten false alarms came from young keys (measured).
    """
    own = np.log(state["vel_top"] + FLOOR) + _HANDICAP
    youth = 1 - close.windows / (close.windows + settings.velocity.warmup_windows)
    ratios = np.log(close.sums + FLOOR) - own - youth[:, None] * np.maximum(prior_log + _HANDICAP - own, 0.0)
    leading = ratios.argmax(axis=1)
    lead = ratios[np.arange(len(leading)), leading]
    doubt = _YOUTH_HANDICAP * youth
    return np.maximum(lead - doubt + settings.velocity.hour_weight * _quieter(state, close), 0.0), leading


def worth_waking(close: Close, settings: DetectorSettings) -> Array:
    """Where the spend is above the floor.

    For a key without a past the floor is twenty times as high and for spend that lasts: nobody knows yet what is much
    for it, and limits bound what that costs.
    """
    youth = np.maximum(1 - close.windows / settings.velocity.warmup_windows, 0.0)
    lasting = lasting_usd_per_min(close)
    per_min = np.where(youth > 0, lasting, np.maximum(_money(close)[:, 1], lasting))
    enough: Array = per_min >= settings.velocity.min_usd_per_min * (1 + _YOUNG_FLOOR * youth)
    return enough


def lasting_usd_per_min(close: Close) -> Array:
    """Spend of the last ten minutes or the last hour, whichever is more a minute."""
    money = _money(close)
    lasting: Array = np.maximum(money[:, 2] / 10, money[:, 3] / 60)
    return lasting


def _money(close: Close) -> Array:
    """[n, 4] USD by window; tokens without a price count with a low one."""
    money: Array = np.maximum(close.sums[:, 8:], close.sums[:, 4:8] * _USD_PER_TOKEN)
    return money


def _learn(state: State, close: Close, decay: float) -> State:
    """Where a block has ended: its maxima join the decayed ones, within bounds."""
    at = np.flatnonzero(close.turned)
    windows, alarmed = close.windows[at], close.alarmed(FAMILY)[at]
    rise = np.where(windows <= _TRUSTING, np.inf, np.where(alarmed, _RISE_ALARMED, _RISE))
    seen, top = state["vel_now"][at].astype("f8"), state["vel_top"][at].astype("f8")
    bounded = np.minimum(seen, (top + FLOOR) * rise[:, None])
    new = {name: values.copy() for name, values in state.items()}
    fade = (decay ** close.elapsed[at])[:, None]
    new["vel_top"][at] = np.maximum(top, state["vel_held"][at]) * fade
    new["vel_held"][at] = bounded * fade / decay
    new["vel_now"][at] = 0
    usd_10m = bounded[:, USD_10M]
    slow = np.maximum(1 / windows, 0.02)
    new["vel_mean"][at] += slow * (usd_10m / 10 - new["vel_mean"][at])
    _learn_hour(new, at, (close.block - close.elapsed[at]) // 6 % 24, usd_10m)
    return new


def _learn_hour(new: State, at: Array, hour: Array, usd_10m: Array) -> None:
    top = new["vel_hour"][at, hour].astype("f8") * _HOUR_FADE
    new["vel_hour"][at, hour] = np.maximum(top, np.minimum(usd_10m, _HOUR_MOST_USD))
    new["vel_hour_n"][at, hour] = np.minimum(new["vel_hour_n"][at, hour].astype("i8") + 1, 255)


def _quieter(state: State, close: Close) -> Array:
    """How much lower the maxima of this hour and its neighbours are than those of all hours, as a capped log."""
    known = state["vel_hour_n"].sum(axis=1, dtype=np.int64) >= _HOURS_KNOWN
    near = (close.block // 6 + np.array([-1, 0, 1])) % 24
    hourly = highest(state["vel_hour"][:, near]).astype("f8")
    ratio = np.log((state["vel_top"][:, USD_10M] + FLOOR[USD_10M]) / (hourly + FLOOR[USD_10M]))
    capped: Array = np.where(known, np.clip(ratio, 0.0, _HOUR_CAP), 0.0)
    return capped


def judged(state: State, close: Close, _raw: Array, shared: Shared, settings: DetectorSettings) -> tuple[Array, Array]:
    """Judged with the cohort's help while the key is young; told where the money is worth it."""
    raw, _ = blended(state, close, shared.prior_log, settings)
    return raw, worth_waking(close, settings)


def explain(state: State, close: Close, shared: Shared, settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """The leading window in words."""
    prior_log = shared.prior_log
    window = int(blended(state, close, prior_log, settings)[1][at])
    own = float(np.log(state["vel_top"][at, window] + FLOOR[window]))
    youth = 1 - close.windows[at] / (close.windows[at] + settings.velocity.warmup_windows)
    usual = np.exp(own + youth * max(float(prior_log[at, window]) - own, 0.0)) - FLOOR[window]
    now, usual = float(close.sums[at, window]), max(float(usual), 0.0)
    ratio = now / max(usual, 0.1 * float(FLOOR[window]))
    seconds = SCALES_S[window % 4]
    evidence: dict[str, float | str] = {
        "observed": now, "expected": usual, "window_s": float(seconds), "ratio": ratio,
    }  # fmt: skip
    usually = "usual peak" if close.windows[at] > 0 else "allowance as a new key"
    what = f"{_rate(now, window)} over {SCALES[window % 4]}, its {usually} is {_rate(usual, window, bare=True)}"
    return Told(WINDOWS[window], f"{what} ({times(ratio)})", evidence)


def _rate(value: float, window: int, *, bare: bool = False) -> str:
    metric, seconds = METRICS[window // 4], SCALES_S[window % 4]
    if metric == "requests":
        words, verb = f"{number(value / seconds)} requests/s", "makes"
    elif metric == "tokens":
        words, verb = f"{number(value * 60 / seconds)} tokens/min", "uses"
    else:
        words, verb = f"{number(value * 60 / seconds)} USD/min", "spends"
    return words if bare else f"{verb} {words}"
