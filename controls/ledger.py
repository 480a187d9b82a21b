"""What was spent, by hour and scope: integers that are only added, so that their order does not matter."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
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
    """Whose spend it was. Keys that no budget goes by are not told apart."""

    team: str
    app: str
    env: str
    key_id: str = ""
    formerly: tuple[str, ...] = ()  # of the keys it took over from, those that a budget names


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
    >>> ledger.hours([0, 1], 0)[1].tolist(), ledger.slots([1], 0)[23].tolist()
    ([2, 100, 7], [1, 30, 2])
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._place: dict[Group, int] = {}
        self._hours: dict[int, Counts] = {}  # day -> [group, hour; requests, tokens, nano-USD]
        self._slots: dict[int, Counts] = {}  # day -> [group, five minutes; ...]
        self._newest_day = 0
        self._changed: set[int] = set()
        self._touched: set[int] = set()

    def add(self, group: Group, slot: int, more: Spent) -> int | None:
        """Add it where it belongs. The group's place; None for what lies further back than anything is kept."""
        day, slot = divmod(slot, SLOTS_PER_DAY)
        if day <= self._newest_day - KEPT_DAYS:
            return None
        self._newest_day = max(self._newest_day, day)
        place = self.place(group)
        self._room(self._hours, day, 24)[place, slot * SLOT_S // HOUR_S] += more
        if day > self._newest_day - FINE_DAYS:
            self._room(self._slots, day, SLOTS_PER_DAY)[place, slot] += more
        self._mark(day)
        return place

    def place(self, group: Group) -> int:
        """The group's number; of one too many that of `OTHERS`."""
        known = self._place.get(group)
        if known is not None:
            return known
        if len(self.groups) >= MOST_GROUPS and not (group.key_id or group.formerly) and group != OTHERS:
            return self.place(OTHERS)
        self._place[group] = len(self.groups)
        self.groups.append(group)
        return self._place[group]

    def hours(self, places: Sequence[int], day: int) -> Counts:
        """[24; requests, tokens, nano-USD] of these groups together, on one day counted from 1970."""
        return _sum(self._hours.get(day), places, 24)

    def slots(self, places: Sequence[int], day: int) -> Counts:
        """[288; ...] of five minutes; zero where they are not known any more."""
        return _sum(self._slots.get(day), places, SLOTS_PER_DAY)

    def forget(self) -> None:
        """Let go of the days before `KEPT_DAYS`, and of the five minutes before `FINE_DAYS`."""
        for kept, days in ((self._hours, KEPT_DAYS), (self._slots, FINE_DAYS)):
            for day in [day for day in kept if day <= self._newest_day - days]:
                del kept[day]
                self._mark(day)

    def take_changed(self) -> list[int]:
        """Days that are there and have changed since the last call: what is to be stored again."""
        taken, self._changed = self._changed, set()
        return sorted(taken & self._hours.keys())

    def take_touched(self) -> set[int]:
        """The same for whoever remembers sums of them."""
        taken, self._touched = self._touched, set()
        return taken

    def days(self) -> list[int]:
        return sorted(self._hours)

    def export_day(self, day: int) -> bytes:
        """One day of all groups that spent on it."""
        hours, slots = self._hours[day], self._slots.get(day)
        used = np.flatnonzero(hours.any(axis=(1, 2)))
        fine = b"" if slots is None else _fitting(slots, len(hours))[used].tobytes()
        head = orjson.dumps({
            "version": _VERSION, "day": day, "groups": [list(self.groups[place]) for place in used.tolist()],
            "fine": bool(fine),
        })  # fmt: skip
        return zlib.compress(b"\n".join((head, hours[used].tobytes() + fine)), 1)

    def import_day(self, data: bytes) -> None:
        """Into a ledger without that day. ValueError for what is none."""
        try:
            head, _, body = zlib.decompress(data).partition(b"\n")
            state: dict[str, Any] = orjson.loads(head)
        except (zlib.error, orjson.JSONDecodeError) as error:
            raise ValueError(f"damaged state of budgets: {error}") from error
        if state["version"] != _VERSION:
            raise ValueError(f"state of budgets of version {state['version']}, not {_VERSION}")
        day, places = state["day"], [self.place(_group(*group)) for group in state["groups"]]
        self._newest_day = max(self._newest_day, day)
        end = len(places) * 24
        counts = np.frombuffer(body, np.int64).reshape(-1, 3)
        np.add.at(self._room(self._hours, day, 24), places, counts[:end].reshape(-1, 24, 3))
        if state["fine"]:
            room = self._room(self._slots, day, SLOTS_PER_DAY)
            np.add.at(room, places, counts[end:].reshape(-1, SLOTS_PER_DAY, 3))
        self._touched.add(day)

    def _mark(self, day: int) -> None:
        self._changed.add(day)
        self._touched.add(day)

    def _room(self, of: dict[int, Counts], day: int, width: int) -> Counts:
        """The day's counts, with a row for every group."""
        known = of.get(day)
        if known is None or len(known) < len(self.groups):
            wanted = max(16, 2 * len(self.groups))
            known = of[day] = _zeros(wanted, width) if known is None else _fitting(known, wanted)
        return known


def _group(team: str, app: str, env: str, key_id: str, formerly: Sequence[str] = ()) -> Group:
    """As it was stored; before keys were followed through rotations there was no `formerly`."""
    return Group(team, app, env, key_id, tuple(formerly))


def _zeros(*shape: int) -> Counts:
    return np.zeros((*shape, 3), np.int64)


def _fitting(counts: Counts, rows: int) -> Counts:
    """With so many rows at least."""
    missing = rows - len(counts)
    return counts if missing <= 0 else np.concatenate((counts, _zeros(missing, counts.shape[1])))


def _sum(counts: Counts | None, places: Sequence[int], width: int) -> Counts:
    if counts is None:
        return _zeros(width)
    there = [place for place in places if place < len(counts)]
    summed: Counts = counts[there].sum(axis=0)
    return summed
