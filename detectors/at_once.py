"""What is certain is said at the row that makes it so, while the second is still open.

Only keys that may have used up their room (`room.py`) are looked at row by row. One that was spoken of has room until
it may have become far worse, or its quiet time is over. Each row is judged as if the second ended with it: what is said
depends on the rows before it alone. The second's end, which `judge.py` judges as ever, adds what had become far worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from detectors import budget, limits, rings
from detectors import rows as r
from detectors.breaches import BITS, times_the_limit
from detectors.ensemble import detectors_in_force
from detectors.open_second import Group, amounts, until
from detectors.room import MOST, Room
from detectors.state import Array

if TYPE_CHECKING:
    from detectors.fold import Folder
    from detectors.judge import Judge
    from detectors.keys import KeyBook
    from detectors.population import Population
    from detectors.said import Statement
    from detectors.state import KeyTable
    from detectors.wave import Wave
    from schemas.config.detectors import DetectorsConfig
    from schemas.records import Finding

_WHOLE: Final = 1 << 24  # of a limit, in the units of `room`
_MOST: Final = 100.0  # limits, as room: it fits into 32 bits
_CAPS: Final[Mapping[Statement, slice]] = {"policy": slice(0, 3), "budget": slice(3, 5)}  # of `Close.caps`
_UNITS: Final = np.array([1e9, 1e9, 10.0])  # of the three sums: USD, USD, requests a second
_SUMS: Final = [rings.WINDOWS.index(name) for name in ("usd_1m", "usd_1h", "requests_10s")]


class Arrived(NamedTuple):
    """The rows of a frame, in their order."""

    rows: Array
    at: Array  # each row's key as a place in `slots`
    slots: Array  # of the frame's keys; -1 for one without a row
    due: Callable[[Array], Array]  # which of these rows may be spoken of: the others were, before a crash


class AtOnce:
    """Judges the rows of one core by one set of limits.

    `columns` has `caps`, `units` and `room` of all slots. `as_judged` turns a wave of the core into one under these
    limits.
    """

    def __init__(
        self, table: KeyTable, folder: Folder, book: KeyBook, judge: Judge, *,
        columns: Callable[[], Mapping[str, Array]], as_judged: Callable[[Wave], Wave] = lambda wave: wave,
    ) -> None:  # fmt: skip
        self._table, self._folder, self._book, self._judge = table, folder, book, judge
        self.reconfigure(judge.settings)
        self._columns, self._room, self._as_judged = columns, Room(columns), as_judged
        self._mask = np.zeros(0, bool)  # of slots whose rows are looked at
        self._waiting = self._before = r.empty()
        self._number, self._due = np.zeros(0, np.int64), np.zeros(0, bool)
        self._told: list[tuple[int, Finding]] = []
        self._open: list[Finding] = []

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """Limits may be switched on and off; `room` is to be 0 everywhere."""
        self._families = [family for family in _CAPS if family in detectors_in_force(settings)]

    def take(self, arrived: Arrived, pending: list[Array]) -> None:
        """Begin with a frame: whose rows need a look? `pending` holds the rows before it that are not folded yet."""
        rows = arrived.rows
        suspects = self._room.take(rows, arrived.at, arrived.slots)
        banned = rows[r.FORBIDDEN] > 0
        if not len(suspects) and not banned.any():
            return
        self._mask = np.zeros(self._table.size, bool)
        self._mask[suspects] = self._mask[rows[r.SLOT, banned]] = True
        self._number = np.flatnonzero(self._mask[rows[r.SLOT]])
        self._waiting, self._due = rows[:, self._number], arrived.due(self._number)
        mine = [part[:, self._mask[part[r.SLOT]]] for part in pending]
        self._before = np.concatenate((r.empty(), *mine), axis=1)

    def closing(self, rows: Array, population: Population) -> None:
        """Judge what the frame has added to a wave that is about to be folded."""
        if not self._waiting.shape[1]:
            return
        second = np.full(self._table.size, -1)
        mine = rows[:, self._mask[rows[r.SLOT]]]
        second[mine[r.SLOT]] = mine[r.SECOND]
        self._judge_rows(second[self._waiting[r.SLOT]] == self._waiting[r.SECOND], population)

    def still_open(self, population: Population) -> None:
        """Judge what is left of the frame: rows of seconds that are not over."""
        self._judge_rows(np.ones(self._waiting.shape[1], bool), population)
        self._before = r.empty()

    def told(self, clock_s: int) -> list[Finding]:
        """What was said of the frame, in the order of its rows."""
        told = [finding for _, finding in sorted(self._told, key=lambda each: each[0])]
        self._open = [finding for finding in (*self._open, *told) if finding.at_ms // 1000 >= clock_s]
        self._told = []
        return told

    def said_of(self, wave: Wave) -> list[Finding]:
        """What was said before of the seconds of a wave that is just folded."""
        known = [*self._open, *(finding for _, finding in self._told)]
        if not known:
            return []
        seconds = dict(zip(wave.slots.tolist(), wave.close.second.tolist(), strict=True))
        return [f for f in known if seconds.get(self._book.slot_of[f.key_id]) == f.at_ms // 1000]

    def _judge_rows(self, now: Array, population: Population) -> None:
        if not now.any():
            return
        group = self._group(now)
        calls = sorted(self._calls(group), key=lambda call: int(group.number[call[1]]))
        blocks = np.array([int(group.seconds[at]) // r.BLOCK_S for at, _ in calls])
        for block in np.unique(blocks).tolist():
            mine = [call for call, its in zip(calls, blocks.tolist(), strict=True) if its == block]
            rows = [until(group, at, row, place) for place, (at, row) in enumerate(mine)]
            slots = group.slots[[at for at, _ in mine]]
            wave = self._as_judged(self._folder.preview(np.concatenate(rows, axis=1), slots, block))
            told = self._judge.ahead(wave, population)
            numbers = group.number[[row for _, row in mine]].tolist()
            self._told += [(number, each) for number, found in zip(numbers, told, strict=True) for each in found]
        self._rest(group)

    def _group(self, now: Array) -> Group:
        """Take these of the waiting rows, each key's of one second, with what is used up as of each."""
        order = np.flatnonzero(now)
        order = order[np.argsort(self._waiting[r.SLOT, order], kind="stable")]
        rows, number, due = self._waiting[:, order], self._number[order], self._due[order]
        self._waiting, self._number, self._due = self._waiting[:, ~now], self._number[~now], self._due[~now]
        slots, starts, whose = np.unique(rows[r.SLOT], return_index=True, return_inverse=True)
        ends = np.append(starts[1:], rows.shape[1]) - 1
        seconds = rows[r.SECOND, starts]
        place = np.minimum(np.searchsorted(slots, self._before[r.SLOT]), len(slots) - 1)
        same = (slots[place] == self._before[r.SLOT]) & (seconds[place] == self._before[r.SECOND])
        before, place = self._before[:, same], place[same]

        added, earlier = amounts(rows), np.zeros((len(slots), 4), np.int64)
        np.add.at(earlier, place, amounts(before))
        sums = np.cumsum(added, axis=0)
        sums += (earlier - sums[starts] + added[starts])[whose]
        windows = sums[:, :3] + rings.counts(self._table.columns, slots, seconds)[:, _SUMS][whose]
        caps = self._columns()["caps"][slots][whose]
        used: dict[Statement, Array] = {"policy": limits.used(windows / _UNITS, caps)}
        if "budget" in self._families:
            known = self._table.take(budget.FIELDS, slots)
            spent = budget.carried(known, budget.periods(seconds))[whose] + sums[:, 3:]
            used["budget"] = budget.used(spent, caps)
        used = {family: used[family] for family in self._families}
        return Group(slots, seconds, starts, ends, rows, number, due, before, windows[:, 0] / 1e9, used)

    def _calls(self, group: Group) -> Iterator[tuple[int, int]]:
        """Keys and rows at which something is to be said, as places in the group; each once."""
        times = self._judge.limits_times(group.slots, group.seconds)
        over = np.zeros(len(group.slots), bool)
        for used in group.used.values():
            over |= used[group.ends] > 1
        banned = group.rows[r.FORBIDDEN] > 0
        over[np.searchsorted(group.slots, group.rows[r.SLOT, banned])] = True
        for at in np.flatnonzero(over).tolist():
            part = slice(int(group.starts[at]), int(group.ends[at]) + 1)
            found = set()
            for family, used in group.used.items():
                score = used[part] / (times[at] if family == "policy" else 1.0)
                if score[-1] > 1:
                    found.add(self._first(group, at, part, family, score, score > 1))
            if banned[part].any():
                found |= self._breaches(group, at, part)
            yield from ((at, row) for row in found if row is not None)

    def _breaches(self, group: Group, at: int, part: slice) -> set[int | None]:
        found = set()
        for what, bit in BITS.items():
            broken = group.rows[r.FORBIDDEN, part] & bit > 0
            if broken.any():
                rows, score = group.rows[:, part][:, broken], np.zeros(len(broken))
                score[broken] = times_the_limit(what, rows, self._book.watch(int(group.slots[at])))
                found.add(self._first(group, at, part, what, score, broken))
        return found

    def _rest(self, group: Group) -> None:
        """Work out how much of a limit each key may use before something may have to be said of it."""
        room = np.full(len(group.slots), MOST)
        for used in group.used.values():
            np.minimum(room, 1 - used[group.ends], out=room)
        loud = np.flatnonzero(room < 0)
        limited = np.isfinite(self._columns()["caps"][group.slots[loud]]).tolist()
        for at, its in zip(loud.tolist(), limited, strict=True):
            room[at] = self._room_of_a_loud_one(group, at, its)
        self._room.leave(group.slots, room)

    def _room_of_a_loud_one(self, group: Group, at: int, limited: list[bool]) -> float:
        """Of a key over a limit, once it was spoken of: it is looked at again when its quiet time is over."""
        slot, second, last = int(group.slots[at]), int(group.seconds[at]), group.ends[at]
        room, until_s = MOST, list[int]()
        for family, used in group.used.items():
            score, quiet = float(used[last]), self._judge.said.quiet(self._book.ids[slot], family, second)
            if not any(limited[_CAPS[family]]):
                continue
            if score <= 1:
                room = min(room, 1 - score)
            elif quiet is None:
                return 0.0
            else:
                more_usd = quiet.usd_per_min - float(group.usd_per_min[last])
                room = min(room, quiet.score - score, self._room.limits_of(slot, more_usd))
                until_s.append(quiet.until_s)
        if room > 0:
            self._room.rest(slot, min(until_s))
        return room

    def _first(
        self, group: Group, at: int, part: slice, what: Statement, score: Array, where: Array
    ) -> int | None:  # fmt: skip
        """The first row of a key at which this is to be said of it."""
        first = self._judge.said.first(
            self._book.ids[int(group.slots[at])], what, int(group.seconds[at]), where=where & group.due[part],
            score=score, usd_per_min=group.usd_per_min[part],
        )  # fmt: skip
        return None if first is None else int(part.start) + first


def in_order(at_once: list[Finding], at_end: list[Finding]) -> list[Finding]:
    """By time; of one time first what did not wait for the end of the second, as it came."""
    waited = sorted(at_end, key=lambda f: (f.key_id, f.family, f.detector))
    return sorted((*at_once, *waited), key=lambda f: f.at_ms)
