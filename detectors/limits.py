"""Certain limits: spend per minute and hour, request rate. No learning, in force from the first event.

A limit bounds what a key can lose, whatever has been learned of it. It is told at the event that passes it, while the
second is still open. Set it for each environment at a few times what its
dearest healthy key spends. A key's own limit is stronger than its environment's, and that one than the general one.

Healthy and looks the same: a job that really needs so much, such as a backfill or a load test. Announced times do not
lift a limit: raise the key's own for that time, and say `keyfuse false-positive`. If nobody started anything, cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number
from detectors.state import Array, Fields, State, highest
from schemas.config.detectors import DetectorsConfig, DetectorSettings, LimitsOverride

FAMILY: Final = "policy"
FIELDS: Final[Fields] = {}
_NAMES: Final = ("usd_per_min", "usd_per_hour", "requests_per_s")
_BUDGETS: Final = ("usd_per_day", "usd_per_month")
_WINDOW_S: Final = (60.0, 3600.0, 10.0)
_WORDS: Final = (
    "spends {0} USD/min, its limit is {1} USD/min",
    "spent {0} USD within an hour, its limit is {1} USD",
    "makes {0} requests/s over 10 s, its limit is {1} requests/s",
)


def observed(sums: Array) -> Array:
    """USD in a minute, USD in an hour, mean requests a second over 10 s.

    >>> observed(np.array([[50.0, 0, 0, 0, 0, 0, 0, 0, 0, 2.0, 0, 9.0]])).tolist()
    [[2.0, 9.0, 5.0]]
    """
    return np.stack((sums[:, 9], sums[:, 11], sums[:, 0] / 10), axis=1)


def step(state: State, close: Close, _settings: DetectorSettings) -> tuple[State, Array]:
    """How many times the strictest limit is used up; more than 1 is a breach.

    >>> from detectors.examples import closing
    >>> used = ({"usd_1m": 21.0}, {"usd_1h": 22.0}, {"requests_10s": 230.0})
    >>> [round(float(step({}, closing(cap=20.0, **sums), DetectorSettings())[1][0]), 2) for sums in used]
    [1.05, 1.1, 1.15]
    """
    return state, used(observed(close.sums), close.caps)


def used(now: Array, caps: Array) -> Array:
    """How many times the strictest limit is used up, of what is `observed` and the keys' `Close.caps`."""
    times: Array = highest(now / caps[:, :3])
    return times


def explain(_state: State, close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    now, cap = observed(close.sums)[at], close.caps[at, :3]
    worst = int((now / cap).argmax())
    evidence: dict[str, float | str] = {
        "observed": float(now[worst]),
        "limit": float(cap[worst]),
        "window_s": _WINDOW_S[worst],
        "ratio": float(now[worst] / cap[worst]),
    }
    return Told(_NAMES[worst], _WORDS[worst].format(number(now[worst]), number(cap[worst])), evidence)


def caps_of(
    settings: DetectorsConfig, *, env: str, key_id: str, formerly: Sequence[str] = ()
) -> tuple[float, ...]:  # fmt: skip
    """The limits in force for one key: the key's own over its environment's over the general ones.

    A key that `keys` does not name has those of the newest one that it took over from (`formerly`, oldest first).
    A limit that an override names as null is off; one that it does not name stays as it is. The order is that of
    `Close.caps`: limits, then the budgets of a day and a month.
    """
    named = named_for(settings, key_id, formerly)
    scopes = (None if named is None else settings.keys[named], settings.environments.get(env))
    limits = tuple(_cap(name, scopes, getattr(settings.limits, name)) for name in _NAMES)
    return limits + tuple(_cap(name, scopes, getattr(settings.budget, name)) for name in _BUDGETS)


def named_for(settings: DetectorsConfig, key_id: str, formerly: Sequence[str]) -> str | None:
    """The key whose own limits hold for this one: itself, or the newest that it took over from; None: no setting's."""
    return next((each for each in (key_id, *reversed(formerly)) if each in settings.keys), None)


def _cap(name: str, scopes: tuple[LimitsOverride | None, ...], general: float | None) -> float:
    for scope in scopes:
        if scope is not None and name in scope.model_fields_set:
            general = getattr(scope, name)
            break
    return float("inf") if general is None else general
