"""What people allow, key by key: marks on alarms, announced times and exceptions, as thresholds in event time.

An allowance never reaches what is learned or what is stored. A certain limit moves only where an announcement in
`detectors.yaml`, the file that sets it, says so. `detectors/grants.py` has the bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import numpy as np

from detectors.explain import number
from detectors.families import PEAKED
from detectors.grants import FAMILIES, Grant, Grants, announced, confirms, covers, effect, granted, order_of
from detectors.keys import KeyBook
from detectors.state import Array
from schemas.config.detectors import AnnouncedConfig
from schemas.records import KeyFacts, Mark

_NAMED: Final = 3  # sources of an allowance that a finding names


class Allowed:
    """What is allowed to the keys of one wave."""

    def __init__(self, grants: Grants, sets: Sequence[tuple[int, ...]], codes: Array, seconds: Array) -> None:
        self._grants, self._sets, self._codes, self._seconds = grants, sets, codes, seconds
        self._raised, self._widened = np.zeros((2, len(codes), len(FAMILIES)))
        at = np.flatnonzero(codes)
        # Most keys of a wave share their second, and many their grants: each such pair is worked out once.
        pairs, place = np.unique((codes[at].astype(np.int64) << 40) | seconds[at], return_inverse=True)
        mine = [sets[code] for code in (pairs >> 40).tolist()]
        counts = np.array([len(each) for each in mine])
        which = np.fromiter(chain.from_iterable(mine), np.int64, int(counts.sum()))
        at_ms = np.repeat((pairs & (1 << 40) - 1) * 1000, counts)
        starts = np.cumsum(counts) - counts
        raised, widened = grants.effect(which, starts, at_ms)
        self._raised[at], self._widened[at] = raised[place], widened[place]
        self.limits = np.ones(len(codes))
        """How many times each key's certain limits are in force."""
        if grants.raises_limits:
            self.limits[at] = grants.limits(which, starts, at_ms)[place]

    def raised(self, family: str) -> Array:
        """How much higher the family's threshold stands for each key, in score units."""
        return self._column(self._raised, family)

    def widened(self, family: str) -> Array:
        """What is taken off the family's raw score for each key."""
        return self._column(self._widened, family)

    def _column(self, values: Array, family: str) -> Array:
        column: Array = values[:, FAMILIES.index(family)] if family in FAMILIES else np.zeros(len(values))
        return column

    def told(self, family: str, at: int) -> tuple[str, dict[str, float | str]]:
        """For the finding of one key: the end of its sentence and evidence; both empty where nothing is allowed."""
        if family == "policy" and self.limits[at] > 1:
            return self._told_limits(at)
        raised, widened = float(self.raised(family)[at]), float(self.widened(family)[at])
        if raised == widened == 0:
            return "", {}
        sources = self._sources(FAMILIES.index(family), at)
        named = ", ".join(f"{grant.name} by {grant.who}" for grant in sources[:_NAMED])
        evidence: dict[str, float | str] = {"allowed_by": ", ".join(grant.name for grant in sources[:_NAMED])}
        words = ""
        if widened:
            evidence["expected_times"] = float(np.exp(widened))
            words += f"; {number(np.exp(widened))} times its usual was expected ({named})"
        if raised:
            evidence["threshold_raised"] = raised
            words += f"; its threshold stands {number(raised)} higher ({named})"
        return words, evidence

    def _told_limits(self, at: int) -> tuple[str, dict[str, float | str]]:
        times, second = float(self.limits[at]), int(self._seconds[at]) * 1000
        sources = [self._grants.rows[each] for each in self._sets[int(self._codes[at])]]
        names = [f"{one.name} by {one.who}" for one in sources
                 if one.limits == times and one.since_ms <= second < one.until_ms]  # fmt: skip
        words = f"; even {number(times)} times its limit was announced ({', '.join(names)})"
        return words, {"limits_times": times, "allowed_by": ", ".join(names)}

    def _sources(self, family: int, at: int) -> list[Grant]:
        """The grants that count for the key in this second, greatest first."""
        found = []
        for grant in (self._grants.rows[each] for each in self._sets[int(self._codes[at])]):
            raised, widened = effect([grant], self._seconds[at : at + 1] * 1000)
            strength = float(raised[0, family] + widened[0, family])
            if strength > 0:
                found.append((-strength, grant.name, grant))
        return [grant for *_, grant in sorted(found, key=lambda each: each[:2])]


class Marked:
    """The marks that all judges of a core go by, and what exceptions from policies let them expect."""

    def __init__(self) -> None:
        self.marks: tuple[Mark, ...] = ()
        self.for_good: tuple[Mark, ...] = ()
        self.expected: tuple[AnnouncedConfig, ...] = ()
        self.version = 0

    def replace(self, marks: Iterable[Mark], expected: Iterable[AnnouncedConfig]) -> None:
        """These and no others. Of several versions of one mark the newest counts."""
        self.expected = tuple(expected)
        self.marks = tuple(Mark.newest(marks))
        self.for_good = tuple(mark for mark in self.marks if mark.for_good and not mark.withdrawn)
        self.version += 1


class Allowances:
    """Marks and announced times of one install, ready to be asked wave by wave.

    Which of them concern a key is looked up at its first wave and remembered until something changes.
    """

    def __init__(self, windows: Sequence[AnnouncedConfig], book: KeyBook, marked: Marked) -> None:
        self._windows, self._book, self.marked = tuple(windows), book, marked
        self._version = -1

    def at(self, slots: Array, seconds: Array) -> Allowed | None:
        """What is allowed to these keys at their seconds; None when nothing is, which costs nothing."""
        if self._version != self.marked.version:
            self._compile()
        grants = self._grants
        if not grants.rows:
            return None
        first_ms, last_ms = int(seconds.min()) * 1000, int(seconds.max()) * 1000
        if not ((grants.since_ms <= last_ms) & (grants.until_ms > first_ms)).any():
            return None
        codes = self._codes_of(slots)
        return Allowed(self._grants, self._sets, codes, seconds) if codes.any() else None

    def confirmed(self, slots: Array, seconds: Array) -> Array | None:
        """[key, PEAKED] where a person said within the day before that the key's change is for good; None: nowhere."""
        found = None
        for mark in self.marked.for_good:
            slot = self._book.slot_of.get(mark.key_id, -1)
            for at in np.flatnonzero(slots == slot).tolist():
                if confirms(mark, int(seconds[at]) * 1000):
                    found = np.zeros((len(slots), len(PEAKED)), bool) if found is None else found
                    found[at] |= [not mark.families or family in mark.families for family in PEAKED]
        return found

    def _compile(self) -> None:
        self._version = self.marked.version
        sources: list[tuple[Grant, AnnouncedConfig | Mark]] = [
            (announced(each), each) for each in (*self._windows, *self.marked.expected)
        ]
        sources += [(grant, mark) for mark in self.marked.marks if (grant := granted(mark))]
        sources.sort(key=lambda source: order_of(source[0]))
        self._grants = Grants(grant for grant, _ in sources)
        self._covering = [(at, each) for at, (_, each) in enumerate(sources) if isinstance(each, AnnouncedConfig)]
        self._named: dict[tuple[str, str], list[int]] = {}
        for at, (_, each) in enumerate(sources):
            if isinstance(each, Mark):
                self._named.setdefault((each.scope, each.key_id), []).append(at)
        self._sets: list[tuple[int, ...]] = [()]
        self._code_of: dict[tuple[int, ...], int] = {(): 0}
        self._codes = np.full(0, -1, np.int32)

    def _codes_of(self, slots: Array) -> Array:
        """For each slot the number of its set of grants; 0 is the empty one."""
        missing = len(self._book.ids) - len(self._codes)
        if missing > 0:
            self._codes = np.concatenate((self._codes, np.full(missing + len(self._codes) // 2, -1, np.int32)))
        for slot in slots[self._codes[slots] < 0].tolist():
            found = self._grants_of(self._book.ids[slot], self._book.facts[slot])
            if found not in self._code_of:
                self._code_of[found] = len(self._sets)
                self._sets.append(found)
            self._codes[slot] = self._code_of[found]
        codes: Array = self._codes[slots]
        return codes

    def _grants_of(self, key_id: str, facts: KeyFacts) -> tuple[int, ...]:
        found = [at for at, window in self._covering if covers(window, key_id, facts)]
        found += self._named.get(("key", key_id), [])
        found += self._named.get(("cohort", f"{facts.env}/{facts.provider}"), [])
        return tuple(sorted(found))
