"""Crash histories against the real engine: nothing lost, nothing twice, and the rollups exact to the event and nano."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from storage.archive import BatchLimits, Commit, PartitionArchive
from storage.archiving import resume, write
from storage.errors import StoreError
from storage.seen import STEP_MS
from storage.store import Store
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, frame

LIMITS = BatchLimits(min_rows=25, max_rows=60, max_age_s=1.0)
Log = list[tuple[int, list[Use]]]


class Fenced(Exception):
    """A commit of an owner that is no longer one."""


@dataclass
class Group:
    """The consumer group as the broker keeps it: one committed offset with metadata, one living generation."""

    offset: int = 0
    metadata: str = ""
    generation: int = 0
    history: list[Commit] = field(default_factory=list)

    def commit(self, generation: int, commit: Commit) -> None:
        if generation != self.generation:
            raise Fenced
        self.offset, self.metadata = commit.offset, commit.metadata
        self.history.append(commit)


def made_up_log(rng: random.Random, *, frames: int) -> Log:
    """Frames with offset gaps, rows of two raw partitions, an ingest that repeats itself, producers that do too."""
    uses: list[Use] = []
    next_raw = {0: 0, 1: 0}
    log: Log = []
    offset = 0
    for nth in range(frames):
        clock_ms = T0 + nth * MINUTE_MS
        rows = [_new_use(rng, next_raw, uses, clock_ms) for _ in range(rng.randrange(1, 14))]
        uses += rows
        log.append((offset, rows))
        offset += rng.choice([1, 1, 1, 2, 5])
        if rng.random() < 0.1:  # the ingest crashed before its commit: the same raw records, cut differently
            again = [use for _, sent in log[-3:] for use in sent]
            cut = rng.randrange(len(again))
            log += [(offset, again[:cut]), (offset + 1, again[cut:])]
            offset += 2
    return log


def _new_use(rng: random.Random, next_raw: dict[int, int], uses: list[Use], clock_ms: int) -> Use:
    partition = rng.randrange(2)
    next_raw[partition] += rng.choice([0, 1, 3])
    at = Use("", next_raw[partition], raw_partition=partition, raw_index=len(uses), cost_nano_usd=rng.randrange(10**9))
    if uses and rng.random() < 0.2:  # a producer sends an event again, now or long after, sometimes with another time
        old = rng.choice(uses[-200:])
        moved_ms = rng.choice([0, 0, 0, 3 * MINUTE_MS, -14 * MINUTE_MS, 40 * MINUTE_MS])
        return replace(at, event_id=old.event_id, key_id=old.key_id, ts_ms=old.ts_ms + moved_ms)
    late_ms = rng.choice([0] * 8 + [7 * MINUTE_MS, 30 * HOUR_MS])
    jitter_ms = rng.randrange(MINUTE_MS)
    key_id = f"fp1:{rng.choice('abc')}"
    return replace(at, event_id=f"e{rng.randrange(10**6)}", key_id=key_id, ts_ms=clock_ms - late_ms + jitter_ms)


@dataclass
class Truth:
    """What must be in the store, found row by row in the plainest way."""

    final: dict[tuple[str, int, str], int] = field(default_factory=dict)  # sorting key -> cost of the last row
    minutes: Counter[tuple[str, int]] = field(default_factory=Counter)
    nano_usd: int = 0
    retries: int = 0

    @classmethod
    def of(cls, log: Log) -> Truth:
        truth, highest, earlier = cls(), {0: -1, 1: -1}, list[Use]()
        for use in (use for _, uses in log for use in uses):
            if use.coord <= highest[use.raw_partition]:
                continue
            highest[use.raw_partition] = use.coord
            truth.final[use.key_id, use.ts_ms // STEP_MS, use.event_id] = use.cost_nano_usd
            if any(_same(use, other) for other in earlier):
                truth.retries += 1
            else:
                truth.minutes[use.key_id, use.ts_ms // MINUTE_MS] += 1
                truth.nano_usd += use.cost_nano_usd
            earlier.append(use)
        return truth


def _same(use: Use, other: Use) -> bool:
    near = abs(use.ts_ms // STEP_MS - other.ts_ms // STEP_MS) <= 3
    return near and (use.key_id, use.event_id) == (other.key_id, other.event_id)


def assert_store_holds(store: Store, truth: Truth) -> None:
    rows = store.connection.rows(
        "SELECT key_id, intDiv(toUnixTimestamp64Milli(ts), 300000), event_id, cost_nano_usd FROM usage_events FINAL"
    )
    assert len(rows) == len(truth.final)
    assert {(key, step, event): cost for key, step, event, cost in rows} == truth.final
    minutes = store.connection.rows(
        "SELECT key_id, intDiv(toUnixTimestamp(at), 60), sum(u.events) FROM usage_minute AS u GROUP BY key_id, at"
    )
    assert {(key, minute): events for key, minute, events in minutes} == truth.minutes
    for rollup in ("usage_minute", "usage_hour"):
        totals = store.connection.rows(f"SELECT sum(u.events), sum(u.cost_nano_usd) FROM {rollup} AS u")
        assert totals == [(truth.minutes.total(), truth.nano_usd)]


@dataclass
class Life:
    """One owner of the partition after another, dying where the dice say."""

    store: Store
    log: Log
    rng: random.Random
    group: Group
    zombies: list[PartitionArchive] = field(default_factory=list)
    crashes: Counter[str] = field(default_factory=Counter)

    def run(self, deaths: dict[str, float]) -> None:
        while self.group.offset <= self.log[-1][0]:
            self.group.generation += 1
            for death in self._own(self.group.generation, deaths):
                self.crashes[death] += 1

    def _own(self, generation: int, deaths: dict[str, float]) -> Iterator[str]:
        offset, metadata = self.group.offset, self.group.metadata
        archive = resume(
            self.store, "usage.frames", 0, offset=offset, metadata=metadata, now_ms=T0 + generation, limits=LIMITS
        )
        for place, uses in self.log:
            if place < offset:
                continue
            archive.add(place, frame(uses), now_s=place)
            last = place == self.log[-1][0]
            while archive.ready(place + (10 if last else self.rng.choice([0, 0, 5]))):
                death = self.rng.choices([*deaths, ""], [*deaths.values(), 1 - sum(deaths.values())])[0]
                yield from self._insert(archive, generation, death)
                if death:
                    return

    def _insert(self, archive: PartitionArchive, generation: int, death: str) -> Iterator[str]:
        if death == "before the intent":
            yield death
            return
        self.group.commit(generation, archive.intent())
        if death == "before the insert":
            yield death
            return
        if death == "asleep before the insert":
            self.zombies.append(archive)
            yield death
            return
        write(self.store, archive)
        if self.zombies and self.rng.random() < 0.7:  # an earlier owner wakes up late, inserts, and is refused
            zombie = self.zombies.pop(0)
            write(self.store, zombie)
            with pytest.raises(Fenced):
                self.group.commit(generation - 1, zombie.done())
        if death == "before the commit":
            yield death
            return
        self.group.commit(generation, archive.done())


DEATHS = {
    "before the intent": 0.1,
    "before the insert": 0.2,
    "asleep before the insert": 0.2,
    "before the commit": 0.2,
}


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_counted_twice_through_crashes_and_zombies(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    log = made_up_log(rng, frames=50)
    life = Life(store, log, rng, Group())
    life.run(DEATHS)
    while life.zombies:
        write(store, life.zombies.pop())
    truth = Truth.of(log)
    assert truth.retries >= 20
    assert set(life.crashes) == set(DEATHS)
    assert_store_holds(store, truth)


def test_a_broker_that_keeps_no_metadata_costs_no_exactness(store: Store) -> None:
    rng = random.Random(4)
    log = made_up_log(rng, frames=40)
    life = Life(store, log, rng, _Forgetful())
    life.run({"before the insert": 0.2, "before the commit": 0.3})
    assert life.crashes["before the commit"] > 1
    assert_store_holds(store, Truth.of(log))


class _Forgetful(Group):
    def commit(self, generation: int, commit: Commit) -> None:
        super().commit(generation, replace(commit, metadata=""))


def test_a_broker_that_starts_again_at_offset_zero_loses_nothing(store: Store) -> None:
    for life in range(3):
        archive = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
        archive.add(0, frame([Use(f"life {life}", 0), Use("shared", 1, cost_nano_usd=life)]), now_s=0)
        archive.intent()
        write(store, archive)
    rows = store.connection.rows(
        "SELECT event_id, cost_nano_usd, frame_offset FROM usage_events FINAL ORDER BY event_id"
    )
    assert [(event, cost) for event, cost, _ in rows][-1] == ("shared", 2)
    assert len(rows) == 4
    assert {offset for _, _, offset in rows} == {0}
    assert store.usage_totals().events == 4


@pytest.mark.parametrize("rollup", ["usage_minute", "usage_hour"])
def test_an_insert_that_failed_halfway_is_made_whole_by_the_next_owner(store: Store, rollup: str) -> None:
    days = [[Use(f"e{n}", n, ts_ms=T0 + n * 20 * HOUR_MS)] for n in range(4)]  # parts of several days
    log: Log = list(enumerate([*days, [Use("e0", 9)]]))
    first = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    _take(first, log)
    intent = first.intent()
    store.connection.command(f"ALTER TABLE {rollup} ADD CONSTRAINT broken CHECK events = 0")
    with pytest.raises(StoreError, match="broken"):
        write(store, first)
    assert store.connection.rows("SELECT count() > 0 FROM usage_events") == [(1,)]
    store.connection.command(f"ALTER TABLE {rollup} DROP CONSTRAINT broken")
    second = resume(store, "usage.frames", 0, offset=0, metadata=intent.metadata, now_ms=T0 + 1)
    _take(second, log)
    write(store, second)
    assert_store_holds(store, Truth.of(log))
    write(store, first)
    assert_store_holds(store, Truth.of(log))


def test_an_old_event_that_comes_again_is_found_in_the_store(store: Store) -> None:
    now, late = T0 + 50 * HOUR_MS, T0 + MINUTE_MS
    log: Log = [(0, [Use("late", 0, ts_ms=late)]), (1, [Use("now", 1, ts_ms=now)]), (2, [Use("late", 2, ts_ms=late)])]
    archive = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    for place in log:
        _take(archive, [place])
        archive.intent()
        write(store, archive)
        archive.done()
    assert_store_holds(store, Truth.of(log))
    assert store.connection.rows("SELECT retry FROM usage_events FINAL WHERE event_id = 'late'") == [(1,)]


def _take(archive: PartitionArchive, log: Log) -> None:
    for offset, uses in log:
        archive.add(offset, frame(uses), now_s=0)
