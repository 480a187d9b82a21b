"""What was spent, by hour and scope: integers that are only added, so that their order does not matter."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.spend import SLOT_S

Counts = NDArray[np.int64]
HOUR_S: Final = 3600
DAY_S: Final = 86_400
KEPT_DAYS: Final = 36
"""A month, what of it may come late, and the days that a forecast looks back."""
FINE_DAYS: Final = 3
"""So long the five minutes are known besides the hours."""
MOST_GROUPS: Final = 5000
SLOTS_PER_DAY: Final = DAY_S // SLOT_S
_VERSION: Final = 1


class Group(NamedTuple):
    """Whose spend it was. Keys that no budget names are not told apart."""

    team: str
    app: str
    env: str
    key_id: str = ""


OTHERS: Final = Group("unknown", "unknown", "unknown")
"""Who comes when there are very many groups: forged labels must not fill the memory."""


class Spent(NamedTuple):
    """Requests, tokens and nano-USD.

    >>> Spent(1, 2, 3) + Spent(1, 1, 1)
    Spent(requests=2, tokens=3, nano_usd=4)
    """

    requests: int = 0
    tokens: int = 0
    nano_usd: int = 0

    def __add__(self, other: object) -> Spent:
        if not isinstance(other, Spent):
            return NotImplemented
        return Spent(self.requests + other.requests, self.tokens + other.tokens, self.nano_usd + other.nano_usd)


class Ledger:
    """By day and group: 24 hours, and of the newest days 288 slots of five minutes.

    >>> ledger = Ledger()
    >>> ledger.add(Group("search", "ranker", "prod"), 12, Spent(1, 70, 5))  # in the second hour of 1970
    0
    >>> ledger.add(Group("ads", "bids", "prod"), 23, Spent(1, 30, 2))
    1
    >>> ledger.hours({0, 1}, 0)[1].tolist(), ledger.slots({1}, 0)[23].tolist()
    ([2, 100, 7], [1, 30, 2])
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._place: dict[Group, int] = {}
        self._days: dict[int, dict[int, tuple[Counts, Counts | None]]] = {}  # day -> group -> its hours, its slots
        self._newest_day = 0
        self._changed: set[int] = set()
        self._touched: set[int] = set()

    def add(self, group: Group, slot: int, more: Spent) -> int | None:
        """Add it where it belongs. The group's place; None for what lies further back than anything is kept."""
        day = slot // SLOTS_PER_DAY
        if day <= self._newest_day - KEPT_DAYS:
            return None
        self._newest_day = max(self._newest_day, day)
        place = self.place(group)
        hours, slots = self._counts(day, place)
        hours[slot % SLOTS_PER_DAY * SLOT_S // HOUR_S] += more
        if slots is not None:
            slots[slot % SLOTS_PER_DAY] += more
        self._mark(day)
        return place

    def place(self, group: Group) -> int:
        """The group's number; of one too many that of `OTHERS`."""
        known = self._place.get(group)
        if known is not None:
            return known
        if len(self.groups) >= MOST_GROUPS and not group.key_id and group != OTHERS:
            return self.place(OTHERS)
        self._place[group] = len(self.groups)
        self.groups.append(group)
        return self._place[group]

    def hours(self, places: Collection[int], day: int) -> Counts:
        """[24; requests, tokens, nano-USD] of these groups together, on one day counted from 1970."""
        return self._sum(places, day, 24, fine=False)

    def slots(self, places: Collection[int], day: int) -> Counts:
        """[288; ...] of five minutes; zero where they are not known any more."""
        return self._sum(places, day, SLOTS_PER_DAY, fine=True)

    def forget(self) -> None:
        """Let go of the days before `KEPT_DAYS`, and of the five minutes before `FINE_DAYS`."""
        for day in [day for day in self._days if day <= self._newest_day - KEPT_DAYS]:
            del self._days[day]
            self._mark(day)
        for day in [day for day in self._days if day <= self._newest_day - FINE_DAYS]:
            fine = [place for place, (_, slots) in self._days[day].items() if slots is not None]
            for place in fine:
                self._days[day][place] = (self._days[day][place][0], None)
            if fine:
                self._mark(day)

    def take_changed(self) -> list[int]:
        """Days that are there and have changed since the last call: what is to be stored again."""
        taken, self._changed = self._changed, set()
        return sorted(taken & self._days.keys())

    def take_touched(self) -> set[int]:
        """The same for whoever remembers sums of them."""
        taken, self._touched = self._touched, set()
        return taken

    def days(self) -> list[int]:
        return sorted(self._days)

    def export_day(self, day: int) -> bytes:
        """One day of all groups; the same sums give the same bytes."""
        found = sorted(self._days.get(day, {}).items(), key=lambda each: self.groups[each[0]])
        return zlib.compress(orjson.dumps({
            "version": _VERSION, "day": day,
            "groups": [[*self.groups[place], _sparse(hours), _sparse(slots)] for place, (hours, slots) in found],
        }), 1)  # fmt: skip

    def import_day(self, data: bytes) -> None:
        """Into a ledger without that day. ValueError for what is none."""
        try:
            state: dict[str, Any] = orjson.loads(zlib.decompress(data))
        except (zlib.error, orjson.JSONDecodeError) as error:
            raise ValueError(f"damaged state of budgets: {error}") from error
        if state["version"] != _VERSION:
            raise ValueError(f"state of budgets of version {state['version']}, not {_VERSION}")
        self._newest_day = max(self._newest_day, state["day"])
        self._touched.add(state["day"])
        for team, app, env, key_id, hours, slots in state["groups"]:
            place = self.place(Group(team, app, env, key_id))
            fine = None if slots is None else _dense(slots, SLOTS_PER_DAY)
            self._days.setdefault(state["day"], {})[place] = (_dense(hours, 24), fine)

    def _mark(self, day: int) -> None:
        self._changed.add(day)
        self._touched.add(day)

    def _counts(self, day: int, place: int) -> tuple[Counts, Counts | None]:
        of_day = self._days.setdefault(day, {})
        known = of_day.get(place)
        if known is None:
            fine = _zeros(SLOTS_PER_DAY) if day > self._newest_day - FINE_DAYS else None
            known = of_day[place] = (_zeros(24), fine)
        return known

    def _sum(self, places: Collection[int], day: int, count: int, *, fine: bool) -> Counts:
        sums, of_day = _zeros(count), self._days.get(day, {})
        for place in places if len(places) < len(of_day) else of_day.keys() & places:
            counts = of_day.get(place, (None, None))[fine]
            if counts is not None:
                sums += counts
        return sums


def _zeros(count: int) -> Counts:
    return np.zeros((count, 3), np.int64)


def _sparse(counts: Counts | None) -> list[list[int]] | None:
    """The rows that are not zero, each with its place."""
    if counts is None:
        return None
    return [[at, *counts[at].tolist()] for at in np.flatnonzero(counts.any(axis=1)).tolist()]


def _dense(rows: list[list[int]], count: int) -> Counts:
    counts = _zeros(count)
    for at, *values in rows:
        counts[at] = values
    return counts
