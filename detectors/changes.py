"""What is new about a key, in a few words each: what a person asks first about a key that behaves strangely.

Names come from the rows of the second itself, or are stored with the key: the same after a crash and a replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.close import Close, Shared
from detectors.explain import percent
from detectors.origin import KINDS
from detectors.rows import REQUESTS, SLOT
from detectors.state import State

MOST: Final = 6
_PLACE_MAX, _MODEL_MAX = 28, 40  # characters of a name; the whole has to fit into a finding
_NEW_FOR_BLOCKS: Final = 36  # six hours, as the origin family has it
_YOUNG_WINDOWS: Final = 12
_NEW_SHARE, _GROWN_SHARE = 0.05, 0.25  # of recent spend, for a model to be worth a word
_KNOWN_WINDOWS: Final = 72
_RARE_HOUR: Final = 1 / 300  # of all its active windows; an even spread gives each hour 1/24


def changes(states: dict[str, State], close: Close, shared: Shared, *, rest_blocks: int, at: int) -> tuple[str, ...]:
    """At most six, each of at most 75 characters.

    Args:
        states: What the detectors of the wave know; the families that are switched off are missing.
        close: The wave's second.
        shared: Names of models and places.
        rest_blocks: Ten-minute blocks of silence before the key came back lately; 0 when it did not.
        at: The key's place in the wave.
    """
    words = []
    if rest_blocks:
        words.append(f"back after {_long(rest_blocks)} of silence")
    elif close.windows[at] < _YOUNG_WINDOWS:
        words.append(_young(int(close.windows[at])))
    if "origin" in states:
        words += _origins(states["origin"], close, shared.place_of, at)
    if "mix" in states:
        words += _models(states["mix"], shared.model_of, at)
    if "velocity" in states:
        words += _hour(states["velocity"], close, at)
    return tuple(words[:MOST])


def _origins(state: State, close: Close, name_of: Callable[[int], str], at: int) -> list[str]:
    """New values of the last hour by kind, the busiest of this second by name."""
    words = []
    for kind, source, places in KINDS:
        first, seen = state["org_first"][at, places], state["org_seen"][at, places]
        fresh = (first > 0) & (close.block - first < _NEW_FOR_BLOCKS) & (close.block - seen < 6)
        values = state["org_value"][at, places][fresh]
        if len(values) == 0:
            continue
        rows = close.rows[:, (close.rows[SLOT] == at) & np.isin(close.rows[source], values)]
        name = ""
        if rows.shape[1]:
            options, member = np.unique(rows[source], return_inverse=True)
            name = _short(name_of(int(options[np.bincount(member, rows[REQUESTS]).argmax()])), _PLACE_MAX)
        words.append(_counted(len(values), kind, name))
    return words


def _counted(number: int, kind: str, name: str) -> str:
    """A kind of origin and how many are new.

    >>> _counted(1, "country", "RU"), _counted(3, "network", "203.0.113.0/24"), _counted(2, "country", "")
    ('new country RU', '3 new networks, one is 203.0.113.0/24', '2 new countries')
    """
    if number == 1:
        return f"new {kind} {name}".strip()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"{number} new {plural}" + (f", one is {name}" if name else "")


def _models(state: State, name_of: Callable[[int], str], at: int) -> list[str]:
    """Models whose share of spend is new or has grown much, the greatest first."""
    fast, usual = state["mix_fast"][at].astype("f8"), state["mix_usual"][at].astype("f8")
    if usual.sum() <= 0:
        return []
    share, before = fast / max(float(fast.sum()), 1e-9), usual / float(usual.sum())
    words = []
    for place in np.argsort(-share, kind="stable").tolist():
        now, was = float(share[place]), float(before[place])
        name = _short(name_of(int(state["mix_model"][at, place])), _MODEL_MAX) or "another model"
        if was < 1e-3 and now >= _NEW_SHARE:
            words.append(f"new model {name}, {percent(now)} of spend")
        elif now - was >= _GROWN_SHARE:
            words.append(f"model {name}: {percent(now)} of spend, usually {percent(was)}")
    return words[:2]


def _hour(state: State, close: Close, at: int) -> list[str]:
    hour, seen = close.block // 6 % 24, state["vel_hour_n"][at].astype(int)
    if seen.sum() < _KNOWN_WINDOWS or seen[hour] > seen.sum() * _RARE_HOUR:
        return []
    return [f"active at {hour:02}:00 UTC, an hour in which it hardly ever was"]


def _young(windows: int) -> str:
    """How little is known of a new key.

    >>> _young(0), _young(5)
    ('a new key, never seen before', 'a new key, used in 5 ten-minute windows before')
    """
    if windows == 0:
        return "a new key, never seen before"
    return f"a new key, used in {windows} ten-minute window{'' if windows == 1 else 's'} before"


def _short(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _long(blocks: int) -> str:
    """Ten-minute blocks in days or hours.

    >>> _long(150), _long(1300)
    ('25 h', '9 d')
    """
    return f"{blocks // 6} h" if blocks < 288 else f"{blocks // 144} d"
