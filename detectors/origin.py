"""Where the key is used from: networks, countries and user agents it has not been used from before.

A network is a /24 or /48. User agents are compared without their versions: an upgrade is not a stranger. A value is new
for its first day, longer while it is alarmed. A few requests from elsewhere count, however many the key's own are.
Without `ip`, `country` or `user_agent` in the events nothing is seen.

Healthy and looks the same: a new region, office or client library. One kind alone is often your own, all three at once
seldom are. A key that always moves (serverless, laptops) is surprised by little.

To turn: `alarm_per_key_week` first; `min_requests` where new keys are still being tried out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors import slots
from detectors.close import Close, Shared, Told
from detectors.explain import percent
from detectors.rows import AGENT, COUNTRY, NETWORK, REQUESTS, SLOT
from detectors.state import Array, Fields, State
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "origin"
KINDS: Final = (
    ("network", NETWORK, slice(0, 16)),
    ("country", COUNTRY, slice(16, 24)),
    ("user agent", AGENT, slice(24, 32)),
)
FIELDS: Final[Fields] = {
    "org_value": ("u4", (32,)),  # hashes, by kind
    "org_seen": ("i4", (32,)),  # block of the last use
    "org_first": ("i4", (32,)),  # block of the first use; 0 for a value as old as the key
    "org_new": ("f4", (2, 3)),  # requests from new values, of the last minutes and of the last hours
    "org_all": ("f4", (2, 3)),  # requests with any value, likewise
    "org_at": ("i4", ()),  # second to which both are faded
    "org_news": ("f4", (3,)),  # faded count of active blocks that brought a new value
    "org_blocks": ("f4", (3,)),  # faded count of active blocks with any value
    "org_now": ("u1", (3,)),  # this block: bit 0 a value was seen, bit 1 a new one
}
_FADE_S: Final = np.array([300.0, 43_200.0])  # a burst shows in minutes, a trickle and a seldom used key in hours
_NEW_FOR_BLOCKS: Final = 144  # a value is new for its first day
_FOUNDING_WINDOWS: Final = 6  # what a key shows in its first active blocks is where it lives
_MEMORY: Final = 0.999  # per active block
_PSEUDO_REQUESTS: Final = 3.0  # one request from elsewhere is not yet a share
_TRICKLE: Final = 0.6  # what some requests from elsewhere count at least, however small their share
_SURPRISE_CAP: Final = 3.0
_SLOW_AGING: Final = 8  # while alarmed, a new value ages this many times more slowly


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: sum over kinds of surprise (-log10 Laplace chance of a new value) times share of recent requests.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["org_value"][0, 16], state["org_blocks"][0, 1] = 49, 300
    >>> at = dict(windows=300, requests=9000, row_requests=50)
    >>> both = [step(state, closing(country=c, **at), DetectorSettings()) for c in (49, 7)]
    >>> [round(float(raw[0]), 2) for _, raw in both]
    [0.0, 2.34]
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    fade = np.exp((new["org_at"] - close.second)[:, None] / _FADE_S).astype("f4")[:, :, None]
    new["org_new"] *= fade
    new["org_all"] *= fade
    new["org_at"] = close.second.astype("i4")
    for kind in range(3):
        _count(new, close, kind)
    raw = (surprise(new) * _share(new)).sum(axis=1)
    return new, np.where(close.requests >= settings.origin.min_requests, raw, 0.0)


def surprise(state: State) -> Array:
    """-log10 of the Laplace chance that an active block of this key brings a new value, by kind; capped."""
    capped: Array = np.minimum(-np.log10((state["org_news"] + 1) / (state["org_blocks"] + 2)), _SURPRISE_CAP)
    return capped


def _share(state: State) -> Array:
    """By kind: the share of requests from new values, of minutes or hours, or that of a trickle, which is larger."""
    new = state["org_new"]
    shares = new / (state["org_all"] + _PSEUDO_REQUESTS)
    trickle = _TRICKLE * new[:, 1] / (new[:, 1] + _PSEUDO_REQUESTS)
    larger: Array = np.maximum(np.maximum(shares[:, 0], shares[:, 1]), trickle)
    return larger


def _count(new: State, close: Close, kind: int) -> None:
    """Fold one kind's values of the second."""
    _, source, places = KINDS[kind]
    given = close.rows[source] != 0
    if not given.any():
        return
    rows = close.rows if given.all() else close.rows[:, given]
    key, value = rows[SLOT], rows[source].astype("u4")
    values, first, seen = new["org_value"][:, places], new["org_first"][:, places], new["org_seen"][:, places]
    column = slots.find(values, key, value)
    unknown = column < 0
    if unknown.any():
        strength = np.where(values > 0, seen, -1).astype("f8")
        cells = slots.admit(values, strength, key[unknown], value[unknown])
        first[cells] = np.where(close.windows[cells[0]] < _FOUNDING_WINDOWS, 0, close.block)
        column = slots.find(values, key, value)
    placed = column >= 0
    seen[key[placed], column[placed]] = close.block
    born = first[key, column]
    young = ~placed | ((born > 0) & (close.block - born < _NEW_FOR_BLOCKS))
    n = len(close.second)
    new["org_all"][:, :, kind] += slots.tally((n,), (key,), rows[REQUESTS]).astype("f4")[:, None]
    new["org_new"][:, :, kind] += slots.tally((n,), (key[young],), rows[REQUESTS][young]).astype("f4")[:, None]
    now = np.zeros(n, "u1")
    now[key] = 1
    now[key[young & (born == close.block)]] = 3
    new["org_now"][:, kind] |= now


def _learn(new: State, close: Close) -> None:
    """Where a block has ended: count whether it brought something new; while alarmed, what is new stays new longer."""
    at = np.flatnonzero(close.turned)
    alarmed = close.alarmed(FAMILY)[at]
    seen, fresh = (new["org_now"][at] & 1) > 0, (new["org_now"][at] & 2) > 0
    fade = np.where(seen, _MEMORY, 1.0)
    new["org_blocks"][at] = new["org_blocks"][at] * fade + seen
    new["org_news"][at] = new["org_news"][at] * fade + (fresh & ~alarmed[:, None])
    new["org_now"][at] = 0
    if close.block % _SLOW_AGING:
        held = at[alarmed]
        first = new["org_first"][held]
        new["org_first"][held] = np.where(first > 0, first + close.elapsed[held][:, None], 0)


def explain(state: State, close: Close, shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """Which kinds are new, from where most of them come, and how usual that is."""
    share, rare = _share(state)[at], surprise(state)[at]
    kinds = [kind for kind in range(3) if share[kind] * rare[kind] >= 0.3] or [int((share * rare).argmax())]
    lead = max(kinds, key=lambda kind: float(share[kind] * rare[kind]))
    named = [f"a new {KINDS[kind][0]}{_example(state, close, shared.place_of, at=at, kind=kind)}" for kind in kinds]
    joined = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    blocks, news = float(state["org_blocks"][at, lead]), float(state["org_news"][at, lead])
    had = f"{round(news)} of its {round(blocks)} active 10-minute windows brought a new {KINDS[lead][0]}"
    parts = state["org_new"][at, :, lead] / np.maximum(state["org_all"][at, :, lead], 1e-9)
    scale = int(parts.argmax())
    seen = float(parts[scale])
    evidence: dict[str, float | str] = {
        "observed": seen, "expected": float((news + 1) / (blocks + 2)), "window_s": float(_FADE_S[scale]),
        "ratio": seen * (blocks + 2) / (news + 1), "new": ", ".join(KINDS[kind][0] for kind in kinds),
    }  # fmt: skip
    lately = ("its latest requests", "its requests in the last hours")[scale]
    return Told("new_origin", f"comes from {joined}, {percent(seen)} of {lately}; {had}", evidence)


def _example(state: State, close: Close, name_of: Callable[[int], str], *, at: int, kind: int) -> str:
    """The new value with the most requests in this second, in brackets; empty when its text is not at hand."""
    _, source, places = KINDS[kind]
    rows = close.rows[:, (close.rows[SLOT] == at) & (close.rows[source] != 0)]
    values, first = state["org_value"][at, places], state["org_first"][at, places]
    young = values[(first > 0) & (close.block - first < _NEW_FOR_BLOCKS)]
    rows = rows[:, np.isin(rows[source], young)]
    if kind == 2 or rows.shape[1] == 0:
        return ""
    options, member = np.unique(rows[source], return_inverse=True)
    name = name_of(int(options[np.bincount(member, rows[REQUESTS]).argmax()]))
    return f" ({name})" if name else ""
