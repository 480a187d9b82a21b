"""Which models the key's money goes to: the last minutes against always.

What counts is how seldom an active ten minutes of this key goes to such a model, not how far the shares differ: a key
that asks a dear model once a day spends all of those minutes on it. A shift to something cheaper is seldom a theft.

Healthy and looks the same: the owner has switched a model, or tries another. A switch is learned within a day of use,
sooner where nothing else is odd. A model that is wrong for a key, not merely new, is for `policies.yaml`.

To turn: `alarm_per_key_week` first; `min_requests` where new keys are still being tried out.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors import slots
from detectors.close import Close, Shared, Told
from detectors.explain import percent
from detectors.rings import WINDOWS
from detectors.rows import COST, MODEL, REQUESTS, SLOT
from detectors.state import Array, Fields, State
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "mix"
USD_10M, TOKENS_10M = WINDOWS.index("usd_10m"), WINDOWS.index("tokens_10m")
USD_1H, TOKENS_1H = WINDOWS.index("usd_1h"), WINDOWS.index("tokens_1h")
PLACES: Final = 8
FIELDS: Final[Fields] = {
    "mix_model": ("u4", (PLACES,)),  # hashes of model names
    "mix_fast": ("f4", (PLACES,)),  # weight of the last minutes
    "mix_fast_at": ("i4", ()),  # second to which it is faded
    "mix_now": ("f4", (PLACES,)),  # weight within this block
    "mix_usual": ("f4", (PLACES,)),  # usual shares
    "mix_level": ("f4", ()),  # usual weight of an active block
    "mix_requests": ("f4", ()),  # requests of the last minutes
    "mix_price": ("f4", ()),  # usual USD per token
}
_FADE_S: Final = 300.0
_PER_REQUEST: Final = 1e-4  # USD added per request, so that free or unpriced models have a weight too
_SLOWEST: Final = 1 / 144  # an active block never counts less than this in the usual shares
_ALARMED_WEIGHT: Final = 0.1
_INERTIA: Final = 0.1  # of a usual block's weight must have gone elsewhere for a shift to count half
_GROWN_UP: Final = 6.0  # active blocks at which a mix counts half
_PSEUDO_REQUESTS: Final = 1.0  # to a strange model count half: one call is not yet a use
_SURPRISE_CAP: Final = 3.0
_SAME_PRICE: Final = 0.6  # what a shift counts that costs no more for each token than always
_DEAR: Final = 4.0  # times the usual price of a token: from here on a shift counts in full


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: surprise of the models of the last minutes (-log10 of the share of active blocks they usually get)
    above the usual surprise, times how sure and how dear.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["mix_model"][0, 0], state["mix_usual"][0, 0], state["mix_level"][0] = 11, 1.0, 0.2
    >>> at = dict(windows=500, requests=5000, row_requests=9, cost_usd=2.0, usd_10m=2.0, tokens_10m=1000.0)
    >>> both = [step(state, closing(model=m, **at), DetectorSettings()) for m in (11, 12)]
    >>> [round(float(raw[0]), 2) for _, raw in both]
    [0.0, 2.38]
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    fade = np.exp((new["mix_fast_at"] - close.second) / _FADE_S).astype("f4")
    new["mix_fast"] *= fade[:, None]
    new["mix_requests"] *= fade
    new["mix_fast_at"] = close.second.astype("i4")
    weight = _weigh(new, close).astype("f4")
    new["mix_fast"] += weight
    new["mix_now"] += weight
    made = slots.tally((len(fade),), (close.rows[SLOT],), close.rows[REQUESTS])
    new["mix_requests"] += made.astype("f4")
    return new, _surprise(new, close, settings.mix.min_requests)


def _weigh(new: State, close: Close) -> Array:
    """Weight of the second's rows by place, after new models have been given places."""
    key, model = close.rows[SLOT], close.rows[MODEL].astype("u4")
    column = slots.find(new["mix_model"], key, model)
    unknown = column < 0
    if unknown.any():
        recent = new["mix_fast"] / np.maximum(new["mix_fast"].sum(axis=1, keepdims=True), 1e-9)
        strength = np.where(new["mix_model"] > 0, recent + new["mix_usual"], -1.0)
        cells = slots.admit(new["mix_model"], strength, key[unknown], model[unknown])
        for name in ("mix_fast", "mix_now", "mix_usual"):
            new[name][cells] = 0
        column = slots.find(new["mix_model"], key, model)
    placed = column >= 0
    at = (key[placed], column[placed])
    shape = new["mix_model"].shape
    cost = slots.tally(shape, at, close.rows[COST][placed])
    return cost / 1e9 + _PER_REQUEST * slots.tally(shape, at, close.rows[REQUESTS][placed])


def _learn(new: State, close: Close) -> None:
    """Where a block has ended its shares join the usual ones, with little weight if it was alarmed."""
    at = np.flatnonzero(close.turned)
    block = new["mix_now"][at].astype("f8")
    total = block.sum(axis=1)
    rate = np.maximum(1 / close.windows[at], _SLOWEST) * np.where(close.alarmed(FAMILY)[at], _ALARMED_WEIGHT, 1.0)
    usual = new["mix_usual"][at]
    new["mix_usual"][at] = usual + rate[:, None] * (block / np.maximum(total, 1e-9)[:, None] - usual)
    new["mix_level"][at] += rate * (total - new["mix_level"][at])
    price, was = _price(close.sums[at, USD_1H], close.sums[at, TOKENS_1H]), new["mix_price"][at]
    new["mix_price"][at] = np.where(was > 0, was + rate * (np.where(price > 0, price, was) - was), price)
    new["mix_now"][at] = 0


def _surprise(new: State, close: Close, min_requests: int) -> Array:
    usual = new["mix_usual"].astype("f8")
    known = usual.sum(axis=1)
    rare = np.minimum(-np.log10(usual + 1 / (close.windows + 2.0)[:, None]), _SURPRISE_CAP).clip(0.0)
    fast = new["mix_fast"].astype("f8")
    inertia = _INERTIA * new["mix_level"] + 5 * _PER_REQUEST
    recent = (fast + inertia[:, None] * usual) / (fast.sum(axis=1) + inertia)[:, None]
    excess = np.maximum(recent - usual, 0.0)
    strange = excess.sum(axis=1) * new["mix_requests"]
    sure = strange / (strange + _PSEUDO_REQUESTS) * close.windows / (close.windows + _GROWN_UP)
    ordinary = (usual * rare).sum(axis=1)
    raw = np.maximum((excess * rare).sum(axis=1) - ordinary, 0.0) * sure * _dearer(new, close)
    judged = (known > 0) & (close.requests >= min_requests)
    return np.where(judged, raw, 0.0)


def _dearer(new: State, close: Close) -> Array:
    """From 0.2 for a shift to something far cheaper to 1 where each token costs four times the usual."""
    now, usual = _price(close.sums[:, USD_10M], close.sums[:, TOKENS_10M]), new["mix_price"].astype("f8")
    known = (now > 0) & (usual > 0)
    times = np.log(np.where(known, now, 1.0) / np.where(known, usual, 1.0)) / np.log(_DEAR)
    factor: Array = np.where(known, np.clip(_SAME_PRICE + (1 - _SAME_PRICE) * times, 0.2, 1.0), 1.0)
    return factor


def _price(usd: Array, tokens: Array) -> Array:
    priced: Array = np.where(tokens > 0, usd / np.maximum(tokens, 1.0), 0.0)
    return priced


def explain(state: State, _close: Close, shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """The model whose share grew most."""
    fast = state["mix_fast"][at].astype("f8")
    usual = state["mix_usual"][at].astype("f8")
    share, before = fast / max(float(fast.sum()), 1e-9), usual / max(float(usual.sum()), 1e-9)
    grown = int((share - before).argmax())
    model = shared.model_of(int(state["mix_model"][at, grown])) or "another model"
    was = "it never was used before" if before[grown] < 1e-6 else f"its usual share is {percent(float(before[grown]))}"
    evidence: dict[str, float | str] = {
        "observed": float(share[grown]), "expected": float(before[grown]), "window_s": _FADE_S,
        "ratio": float(share[grown] / max(before[grown], 1e-4)), "model": model,
    }  # fmt: skip
    return Told("model_mix", f"{model} is {percent(float(share[grown]))} of spend in the last minutes; {was}", evidence)
