"""What a key may spend in a day and in a month of UTC. Certain, like a limit; off until somebody sets it.

It tells slow thefts, which no rate shows, at the event that passes it. Environments and keys have stronger ones of
their own, as with limits.

Healthy and looks the same: a product that grows. It is told again each `time.refractory_s` while the key goes on, so
raise the budget or stop the key.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number, percent
from detectors.rows import COST, SLOT
from detectors.slots import tally
from detectors.state import Array, Fields, State, highest
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "budget"
FIELDS: Final[Fields] = {
    "bud_period": ("i4", (2,)),  # day and month of the sums, counted from 1970
    "bud_nano": ("i8", (2,)),  # spend within them, nano-USD
}
_NAMES: Final = ("usd_per_day", "usd_per_month")
_WORDS: Final = ("today", "this month")
_PERIOD_S: Final = (86_400.0, 2_592_000.0)


def step(state: State, close: Close, _settings: DetectorSettings) -> tuple[State, Array]:
    """How many times the nearer of the two budgets is used up; more than 1 is over.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> for _ in range(3):
    ...     state, raw = step(state, closing(cost_usd=4.0, cap=10.0), DetectorSettings())
    >>> float(raw[0])
    1.2
    """
    now = periods(close.second)
    cost = close.rows[COST]
    spent = carried(state, now) + tally((len(now),), (close.rows[SLOT],), cost).astype("i8")[:, None]
    return {"bud_period": now.astype("i4"), "bud_nano": spent}, used(spent, close.caps)


def carried(state: State, now: Array) -> Array:
    """[n, 2] nano-USD spent before within the day and the month that it is `now`."""
    spent: Array = np.where(state["bud_period"] == now, state["bud_nano"], 0)
    return spent


def used(nano_usd: Array, caps: Array) -> Array:
    """The share of the nearer budget that is spent, of [n, 2] nano-USD and the keys' `Close.caps`."""
    share: Array = highest(nano_usd / 1e9 / caps[:, 3:])
    return share


def periods(second: Array) -> Array:
    """[n, 2] day and month of each second, UTC, counted from 1970-01-01.

    >>> periods(np.array([0, 86_400 * 31])).tolist()
    [[0, 0], [31, 1]]
    """
    at = second.astype("datetime64[s]")
    return np.stack((at.astype("datetime64[D]").astype("i8"), at.astype("datetime64[M]").astype("i8")), axis=1)


def explain(state: State, close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """Which budget, how much of it."""
    spent, cap = state["bud_nano"][at] / 1e9, close.caps[at, 3:]
    worst = int((spent / cap).argmax())
    used = float(spent[worst] / cap[worst])
    told, whole = number(float(spent[worst])), number(float(cap[worst]))
    what = f"spent {told} USD {_WORDS[worst]}, {percent(used)} of its budget of {whole} USD"
    evidence: dict[str, float | str] = {
        "observed": float(spent[worst]), "limit": float(cap[worst]), "window_s": _PERIOD_S[worst], "ratio": used,
    }  # fmt: skip
    return Told(_NAMES[worst], what, evidence)
