"""Refused requests and endpoints never used before: somebody tries what the key can do.

Refused are answers 4xx, so also rate limits and quotas (429). Failures of the provider (5xx) are nobody's probing: they
do not count, and excuse some refusals beside them. It speaks before any money is spent. A key that is often refused
needs more to be told.

Healthy and looks the same: a release with a broken request, a quota that is used up. These come from the key's own
hosts, so `origin` says nothing beside them.

To turn: `alarm_per_key_week` first; `min_requests` where new keys are still being tried out.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors import slots, surprise
from detectors.close import Close, Shared, Told
from detectors.explain import number, percent
from detectors.rows import ENDPOINT, FAILED, REFUSED, REQUESTS, SLOT
from detectors.state import Array, Fields, State
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "errors"
PLACES: Final = 4
FIELDS: Final[Fields] = {
    "err_fast": ("f4", (4,)),  # refused, on new endpoints, all, failed at the provider: requests of the last minutes
    "err_at": ("i4", ()),  # second to which they are faded
    "err_now": ("f4", (2,)),  # refused and all of this block
    "err_usual": ("f4", (2,)),  # faded sums of the same over active blocks
    "err_peak": ("f2", (2,)),  # highest surprise within this block; usual highest
    "err_endpoint": ("u4", (PLACES,)),  # hashes
    "err_first": ("i4", (PLACES,)),  # block of the first use; 0 for an endpoint as old as the key
}
_FADE_S: Final = 600.0
_MEMORY: Final = 0.998  # per active block
_PRIOR_REFUSED, _PRIOR_ALL = 0.5, 50.0  # requests that stand in for a history: one in a hundred refused
_EXPECTED_FLOOR: Final = 0.6  # refused requests that are always expected: two alone prove nothing
_EXCUSED: Final = 0.5  # refused requests that one failure at the provider explains: clients retry
_NEW_AT_MOST: Final = 3.0  # requests on new endpoints that count like refused ones: alone they are no alarm
_NEW_FOR_BLOCKS: Final = 36  # an endpoint is new for its first six hours
_FOUNDING_WINDOWS: Final = 6  # what a key uses in its first active blocks is what it is for
_BELOW_PEAK: Final = 0.5  # below the usual peak at which a score begins: the healthy ones are to be counted
_FADE_PEAK: Final = 0.999  # per active block
_RISE: Final = 1.0  # by which the usual peak may grow in a healthy block
_RISE_ALARMED: Final = 0.2  # and in an alarmed one
_ALARMED_WEIGHT: Final = 0.1  # of an alarmed block in the usual share
_GROWN_UP: Final = 3.0  # active blocks at which a surprise counts half
_MOST: Final = 9.0


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: -log10 of the chance of so many refused requests and new endpoints, beyond the key's usual peak.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["err_usual"][0] = 10, 2000
    >>> both = [step(state, closing(row_requests=8, refused=n), DetectorSettings()) for n in (0, 8)]
    >>> [round(float(raw[0]), 1) for _, raw in both]
    [0.0, 5.4]
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    new["err_fast"] *= np.exp((new["err_at"] - close.second) / _FADE_S).astype("f4")[:, None]
    new["err_at"] = close.second.astype("i4")
    n, rows, key = len(close.second), close.rows, close.rows[SLOT]
    fresh = np.where(_on_new_endpoint(new, close), rows[REQUESTS] - rows[REFUSED] - rows[FAILED], 0)
    answered = rows[REQUESTS] - rows[FAILED]
    sums = np.stack([slots.tally((n,), (key,), row) for row in (rows[REFUSED], fresh, answered, rows[FAILED])], axis=1)
    new["err_fast"] += sums.astype("f4")
    new["err_now"] += sums[:, [0, 2]].astype("f4")
    surprised = _surprise(new)
    usual_peak = np.maximum(new["err_peak"][:, 1] - _BELOW_PEAK, 0.0)
    raw = np.maximum(surprised - usual_peak, 0.0) * close.windows / (close.windows + _GROWN_UP)
    new["err_peak"][:, 0] = np.maximum(new["err_peak"][:, 0], surprised)
    return new, np.where(close.requests >= settings.errors.min_requests, raw, 0.0)


def _surprise(state: State) -> Array:
    """-log10 of the chance of so many knocks among the last requests."""
    fast = state["err_fast"].astype("f8")
    knocks = fast[:, 0] + np.minimum(fast[:, 1], _NEW_AT_MOST)
    expected = fast[:, 2] * _usual_share(state) + _EXCUSED * fast[:, 3] + _EXPECTED_FLOOR
    return surprise.poisson(knocks, expected, most=_MOST)


def _usual_share(state: State) -> Array:
    share: Array = (state["err_usual"][:, 0] + _PRIOR_REFUSED) / (state["err_usual"][:, 1].astype("f8") + _PRIOR_ALL)
    return share


def _on_new_endpoint(new: State, close: Close) -> Array:
    """Which rows go to an endpoint the key has not used before; the newest gives way when there are too many."""
    key, value = close.rows[SLOT], close.rows[ENDPOINT].astype("u4")
    column = slots.find(new["err_endpoint"], key, value)
    unknown = (column < 0) & (value != 0)
    first = new["err_first"]
    if unknown.any():
        held = new["err_endpoint"] > 0
        founding = (close.windows < _FOUNDING_WINDOWS) | ~held.any(axis=1)
        strength = np.where(held, -first.astype("f8"), -np.inf)
        cells = slots.admit(new["err_endpoint"], strength, key[unknown], value[unknown])
        first[cells] = np.where(founding[cells[0]], 0, close.block)
        column = slots.find(new["err_endpoint"], key, value)
    born = first[key, column]
    strange: Array = (value != 0) & ((column < 0) | ((born > 0) & (close.block - born < _NEW_FOR_BLOCKS)))
    return strange


def _learn(new: State, close: Close) -> None:
    """Where a block has ended it joins the usual share and the usual peak, with caution if it was alarmed."""
    at = np.flatnonzero(close.turned)
    alarmed = close.alarmed(FAMILY)[at]
    block = new["err_now"][at] * np.where(alarmed, _ALARMED_WEIGHT, 1.0)[:, None]
    new["err_usual"][at] = new["err_usual"][at] * _MEMORY + block
    new["err_now"][at] = 0
    peak, top = new["err_peak"][at].astype("f8").T
    rise = np.where(alarmed, _RISE_ALARMED, _RISE)
    new["err_peak"][at, 1] = np.maximum(top * _FADE_PEAK, np.minimum(peak, top + rise))
    new["err_peak"][at, 0] = 0


def explain(state: State, close: Close, shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """How many of the last requests were refused, and which endpoints are new."""
    refused, fresh, answered, _ = (float(value) for value in state["err_fast"][at])
    usual = float(_usual_share(state)[at])
    share = refused / max(answered, refused, 1e-9)
    said = []
    if round(refused) > 0:
        of = number(max(round(answered), round(refused)))
        said.append(f"had {round(refused):,} of its last {of} requests refused (4xx), its usual is {percent(usual)}")
    if round(fresh) > 0:
        said.append(f"tries endpoints it never used before{_named(state, close, shared, at)}")
    evidence: dict[str, float | str] = {
        "observed": share, "expected": usual, "window_s": _FADE_S, "ratio": share / max(usual, 1e-4),
        "refused": refused, "on_new_endpoints": fresh,
    }  # fmt: skip
    return Told("refused" if refused >= fresh else "new_endpoints", " and ".join(said) or "is refused", evidence)


def _named(state: State, close: Close, shared: Shared, at: int) -> str:
    """The new endpoints of this very second in brackets: names of earlier ones may be lost after a restart."""
    first = state["err_first"][at]
    young = state["err_endpoint"][at, (first > 0) & (close.block - first < _NEW_FOR_BLOCKS)]
    used = np.intersect1d(young, close.rows[ENDPOINT, close.rows[SLOT] == at])
    names = sorted(filter(None, map(shared.place_of, used.tolist())))
    return f" ({', '.join(names)})" if names else ""
