"""Hard negatives played: each key's healthy change instead of its clean rows, and what was said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, WEEK_MS, Uses, merged
from benchmarks.containment.negatives import NEGATIVES, Negative, with_successors
from benchmarks.containment.play import Snapshot, core_from, detector_settings, fresh_core, play_rows
from benchmarks.containment.theft_case import Case
from benchmarks.containment.traffic import GROWN_WINDOWS, World
from benchmarks.containment.trials import Rates
from benchmarks.containment.watch import CLOSED_MS, Said, Watch, auto_decider
from schemas.records import Finding

_STREAM: Final = 14


class Calm(NamedTuple):
    """What became of one healthy change."""

    kind: str
    cold: bool
    alerted: bool
    alerted_anyway: bool  # the same key in the same hours without the change
    cut: bool
    by: str
    reason: str


@dataclass(frozen=True, eq=False)
class _Dealt:
    kind: str
    negative: Negative
    cold: bool


class Played(NamedTuple):
    """Which changes one copy holds: all that fit into `most_ms` after their start, and are no shorter than `least_ms`.

    `lived`: what keys have lived with since the beginning of the record, from which it is played.
    """

    least_ms: int
    most_ms: int
    spread_ms: int  # changes start within this time after the snapshot
    keys: int  # at most
    lived: bool = False

    @property
    def week_long(self) -> bool:
        return self.most_ms >= WEEK_MS


SHORT: Final = Played(0, 40 * HOUR_MS, HOUR_MS, 1000)
LONG: Final = Played(40 * HOUR_MS, WEEK_MS, DAY_MS, 40)
LIVED: Final = Played(0, 2 * WEEK_MS, DAY_MS, 24, True)


class Hard:
    """Deals changes to keys, half by half, so that each kind comes about equally often."""

    def __init__(self, world: World, *, seed: int, kinds: Sequence[str] = tuple(NEGATIVES)) -> None:
        self.world = with_successors(world)
        self._known = len(world.profiles)
        self._kinds = kinds
        self._rng = np.random.default_rng((_STREAM, seed))
        self._count: Counter[str] = Counter()

    def play(self, snapshot: Snapshot, half: int, rates: Rates, said: Said, what: Played) -> list[Calm]:
        """One copy with a change for each key of the half that can have one; `said` is what came without them."""
        dealt = self._deal(half, snapshot.at_ms, what)
        if not dealt:
            return []
        decider = auto_decider()
        watch_of = {key: (one, Watch(decider)) for one in dealt for key in one.negative.keys}
        place = {self.world.ledger.owners[key].key_id: key for key in watch_of}

        def hear(findings: Sequence[Finding]) -> list[int]:
            for finding in findings:
                one, watch = watch_of[place[finding.key_id]]
                if one.negative.start_ms - CLOSED_MS < finding.at_ms < one.negative.until_ms:
                    watch.hear([finding])
            return [key for key, (_, watch) in watch_of.items() if watch.cut_ms is not None]

        announced = tuple(window for one in dealt for window in one.negative.announced)
        settings = detector_settings(rates.every).model_copy(update={"announced": announced})
        start_ms = START_MS if what.lived else snapshot.at_ms
        core = fresh_core(snapshot, settings) if what.lived else core_from(snapshot, settings)
        until_ms = max(one.negative.until_ms for one in dealt)
        play_rows(self.world, core, _rows(self.world, dealt, start_ms), start_ms=start_ms, until_ms=until_ms,
                  first_offset=0 if what.lived else snapshot.next_offset, hear=hear)  # fmt: skip
        return [_calm(one, [watch_of[key][1] for key in one.negative.keys], said) for one in dealt]

    def _deal(self, half: int, at_ms: int, what: Played) -> list[_Dealt]:
        """The kinds that were dealt least come first; a key that can have none is left out."""
        mine = np.flatnonzero(self.world.halves[: self._known] == half)
        rhythms = [self.world.rhythms[key] for key in mine.tolist()]
        mine = mine[[one.windows_before(at_ms) > 0 and not (what.week_long and one.dense) for one in rhythms]]
        dealt: list[_Dealt] = []
        for key in self._rng.permutation(mine).tolist():
            start_ms = at_ms + int(self._rng.random() * what.spread_ms) // 1000 * 1000
            for kind in sorted(self._rng.permutation(self._kinds).tolist(), key=lambda kind: self._count[kind]):
                case = Case(self.world, (key,), start_ms, np.random.default_rng((_STREAM, start_ms // 1000, key)))
                negative = NEGATIVES[kind](case)
                if negative is not None and _fits(negative, at_ms, what):
                    self._count[kind] += 1
                    cold = self.world.rhythms[key].windows_before(start_ms) < GROWN_WINDOWS
                    dealt.append(_Dealt(kind, negative, cold))
                    break
            if len(dealt) == what.keys:
                break
        return dealt


def _fits(negative: Negative, at_ms: int, what: Played) -> bool:
    lived = negative.from_ms < at_ms
    length_ms = negative.until_ms - at_ms
    return lived == what.lived and (lived or what.least_ms <= length_ms < what.most_ms)


def _rows(world: World, dealt: Sequence[_Dealt], start_ms: int) -> Uses:
    """Each key's clean rows until its change begins, and the change's."""
    from_ms = np.full(len(world.profiles), -1)
    for one in dealt:
        from_ms[list(one.negative.keys)] = one.negative.from_ms
    clean = world.clean.where((world.clean.ts_ms >= start_ms) & (world.clean.ts_ms < from_ms[world.clean.key]))
    return merged([clean, *(one.negative.rows for one in dealt)])


def _calm(one: _Dealt, watches: Sequence[Watch], said: Said) -> Calm:
    alerted = [watch for watch in watches if watch.alert_ms is not None]
    first = min(alerted, key=lambda watch: watch.alert_ms or 0, default=None)
    return Calm(
        kind=one.kind,
        cold=one.cold,
        alerted=first is not None,
        alerted_anyway=said.within(one.negative.keys, one.negative.start_ms, one.negative.until_ms),
        cut=any(watch.cut_ms is not None for watch in watches),
        by="" if first is None else first.first_family,
        reason="" if first is None else first.reason,
    )
