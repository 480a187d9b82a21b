"""What a core shows of its keys' use as of its clock, rows of the open second included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from detectors import rings
from detectors import rows as r
from detectors.state import Array

if TYPE_CHECKING:
    from detectors.core import ScoreCore

ACTIVE_S: Final = 3600


class KeyUse(NamedTuple):
    """A key as a screen shows it."""

    key_id: str
    requests_1m: float
    tokens_1m: float
    usd_1m: float
    usd_1h: float
    last_seen_s: int
    score: float  # highest calibrated score at its last close


def windows(core: ScoreCore, key_id: str) -> dict[str, float] | None:
    slot = core.book.slot_of.get(key_id)
    if slot is None:
        return None
    return dict(zip(rings.WINDOWS, _sums(core, np.array([slot]))[0].tolist(), strict=True))


def summary(core: ScoreCore) -> list[KeyUse]:
    columns = core.table.columns
    slots = np.arange(core.known_keys)
    seen, score = columns["key_seen"][slots].tolist(), core.book.columns["score"][slots].tolist()
    sums = _sums(core, slots)[:, [1, 5, 9, 11]].tolist()
    return [
        KeyUse(key, requests, tokens, minute, hour, at, worst)
        for key, (requests, tokens, minute, hour), at, worst in zip(core.book.ids, sums, seen, score, strict=True)
    ]


def active(core: ScoreCore) -> Array:
    """By slot: whether the key was used within the last hour of event time."""
    seen: Array = core.table.columns["key_seen"][: core.table.size] > core.clock_s - ACTIVE_S
    return seen


def _sums(core: ScoreCore, slots: Array) -> Array:
    """Window sums for a rising list of slots; idle keys are zero without a look at their rings."""
    sums = np.zeros((len(slots), len(rings.WINDOWS)))
    busy = np.flatnonzero(core.table.columns["key_seen"][slots] > core.clock_s - ACTIVE_S - 60)
    sums[busy] = rings.sums(core.table.columns, slots[busy], np.full(len(busy), core.clock_s))
    for rows in core.pending:
        mine = rows[:, np.isin(rows[r.SLOT], slots)]
        at = np.searchsorted(slots, mine[r.SLOT])
        rings.add_rows(sums, at, mine, core.clock_s)
    return sums
