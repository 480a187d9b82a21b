"""The rows of seconds that are not over, by key: what each has used up as of each of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detectors import rows as r
from detectors.state import Array

if TYPE_CHECKING:
    from detectors.said import Statement


class Group(NamedTuple):
    """One second of some keys. Arrays of rows are ordered by key, and in it as they came."""

    slots: Array
    seconds: Array
    starts: Array
    ends: Array  # of each key's last row
    rows: Array
    number: Array  # in the frame, of each row
    due: Array
    before: Array  # earlier rows of these seconds
    usd_per_min: Array  # as of each row
    used: Mapping[Statement, Array]  # by family: how many times the limit is used up, as of each row


def until(group: Group, at: int, row: int, place: int) -> Array:
    """The rows of a key's second up to one of them, under a place instead of its slot."""
    before = group.before[:, group.before[r.SLOT] == group.slots[at]]
    rows = np.concatenate((before, group.rows[:, group.starts[at] : row + 1]), axis=1)
    rows[r.SLOT] = place
    return rows


def amounts(rows: Array) -> Array:
    """What each row adds to the sums that have a limit, as of its second: [n, 4], the last of a day and a month."""
    age_s, age_min = rows[r.SECOND] - rows[r.TS], rows[r.SECOND] // 60 - rows[r.TS] // 60
    cost = rows[r.COST]
    return np.stack((cost * (age_s < 60), cost * (age_min < 60), rows[r.REQUESTS] * (age_s < 10), cost), axis=1)
