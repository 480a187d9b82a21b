"""What may be committed while partitions change hands: the true Faust app, consumer and reader, without a broker.

Two workers share two partitions. Records come and end between rebalances, and some of those that came before a
rebalance end after it, or are still being looked at when it comes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.acks import Arrived
from streams.errors import Overtaken
from streams.faust_apps import StageApp, _Reader, new_app
from streams.faust_engine import GuardedConsumer
from streams.kafka import EMBEDDED

PARTITIONS = (TP("usage", 0), TP("usage", 1))
HISTORIES = 200


class Waiting(NamedTuple):
    """A record that a stage has and has not ended."""

    arrived: Arrived
    assignment: int
    """Of its worker, counted; what came in an earlier one is no longer its own."""


class Worker:
    """One member of the group: an app of ours, and what its stage holds."""

    def __init__(self, group: Group) -> None:
        self._group = group
        app = new_app(
            StageApp("stage", ["usage"], self._handle, lambda: None), "127.0.0.1:1", timing=EMBEDDED, broke=self._broke
        )
        self._app = app
        self.consumer = app.guarded_consumer
        self.reader: _Reader = app.agents["stage"].fun.__self__  # the agent is its method
        as_known: Any = self.consumer  # what only a broker can answer
        as_known.assignment, as_known.earliest_offsets = set, self._earliest
        self.assignment = 0
        self.resumed: dict[TP, int] = {}  # what it owns, and where it began
        self.positions: dict[TP, int] = {}
        self.done: dict[TP, set[int]] = {}  # ended in this assignment
        self.waiting: list[Waiting] = []
        self.interrupted = False

    async def _handle(self, arrived: Arrived) -> None:
        assert TP(arrived.topic, arrived.partition) in self.resumed, "a stage got a record of a partition it has lost"
        self.waiting.append(Waiting(arrived, self.assignment))

    def _broke(self, why: str) -> None:
        raise AssertionError(why)

    async def _earliest(self, *tps: TP) -> dict[TP, int]:
        if self.interrupted:
            self.interrupted = False
            await self._group.rebalance()
        return dict.fromkeys(tps, 0)

    async def revoke(self) -> None:
        await self.consumer.on_partitions_revoked(set(self.resumed))

    async def assign(self, tps: Iterable[TP]) -> None:
        self.assignment += 1
        self.resumed = {tp: self._group.committed[tp] for tp in tps}
        self.positions, self.done = dict(self.resumed), {tp: set() for tp in self.resumed}
        await self._app.on_partitions_assigned.send(set(self.resumed))
        self.consumer._committed_offset.update(self.resumed)  # as Faust's seek does

    async def read(self, tp: TP) -> None:
        """The next record; what a rebalance overtakes on its way comes again."""
        message = SimpleNamespace(
            tp=tp, offset=self.positions[tp], generation_id=self._group.generation, value=b"x", key=None
        )
        self.positions[tp] += 1
        generation = self._group.generation
        try:
            await self.reader._one(message)
        except Overtaken:
            assert generation != self._group.generation

    def end(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        if waiting.assignment == self.assignment:
            self.done[TP(waiting.arrived.topic, waiting.arrived.partition)].add(waiting.arrived.offset)
        waiting.arrived.ack()

    def commit(self) -> None:
        """As Faust asks our consumer, and without what is not assigned."""
        said = self.consumer._filter_committable_offsets(self.consumer._filter_tps_with_pending_acks())
        for tp, offset in said.items():
            if tp in self.resumed:
                self._group.commit(tp, offset, self)
                self.consumer._committed_offset[tp] = offset


class Group:
    """Two workers, and what they have committed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.generation = 0
        self.ends = {tp: rng.randrange(2, 7) for tp in PARTITIONS}
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.wrong: list[str] = []
        self.workers = [Worker(self), Worker(self)]

    async def rebalance(self) -> None:
        for worker in self.workers:
            await worker.revoke()
        self.generation += 1
        owners = {tp: self.rng.choice(self.workers) for tp in PARTITIONS}
        for worker in self.workers:
            await worker.assign([tp for tp, owner in owners.items() if owner is worker])

    def commit(self, tp: TP, offset: int, owner: Worker) -> None:
        not_done = set(range(owner.resumed[tp], offset)) - owner.done[tp]
        if not_done or offset < self.committed[tp]:
            self.wrong.append(f"{tp}: {offset} committed after {self.committed[tp]}, {not_done} are not done")
        self.committed[tp] = offset

    async def asked(self, _bootstrap: str, _group: str, tp: TP) -> tuple[int, str]:
        """What the broker says is committed."""
        return self.committed[tp], ""

    async def step(self) -> None:
        """One thing that happens."""
        rng, worker = self.rng, self.rng.choice(self.workers)
        what = rng.choices(["read", "end", "commit", "rebalance", "interrupt"], [6, 5, 2, 1, 1])[0]
        if what == "rebalance":
            await self.rebalance()
        elif what == "interrupt":
            worker.interrupted = True
        elif what == "commit":
            worker.commit()
        elif what == "end" and worker.waiting:
            worker.end(rng.choice(worker.waiting))
        elif what == "read":
            ready = [tp for tp, position in worker.positions.items() if position < self.ends[tp]]
            if ready:
                await worker.read(rng.choice(ready))

    async def calm(self) -> None:
        """Nothing moves any more, and all that is there is worked off."""
        for worker in self.workers:
            worker.interrupted = False
            for tp in worker.positions:
                while worker.positions[tp] < self.ends[tp]:
                    await worker.read(tp)
            for waiting in list(worker.waiting):
                worker.end(waiting)
            worker.commit()


async def wrong_in(seed: int) -> list[str]:
    group = Group(random.Random(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.faust_apps.committed", group.asked)
        await group.rebalance()
        for _ in range(40):
            await group.step()
        await group.calm()
    left = [f"{tp}: {group.committed[tp]} of {end}" for tp, end in group.ends.items() if group.committed[tp] != end]
    return group.wrong + left


async def first_wrong() -> int | None:
    for seed in range(HISTORIES):
        if await wrong_in(seed):
            return seed
    return None


async def test_no_commit_passes_what_its_owner_has_not_done_and_all_is_committed_in_the_end() -> None:
    assert await first_wrong() is None


async def test_a_consumer_that_does_not_forget_what_it_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedConsumer, "on_partitions_revoked", driver.Consumer.on_partitions_revoked)
    assert await first_wrong() is not None


async def test_a_reader_that_takes_ends_of_before_a_rebalance_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _Reader.on_revoked

    async def on_revoked(reader: _Reader, *given: Any, **more: Any) -> None:
        acks = dict(reader._acks)
        await kept(reader, *given, **more)
        reader._acks = acks

    monkeypatch.setattr(_Reader, "on_revoked", on_revoked)
    assert await first_wrong() is not None


async def test_a_record_that_a_rebalance_overtakes_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(random.Random(0))
    monkeypatch.setattr("streams.faust_apps.committed", group.asked)
    await group.rebalance()
    worker = next(worker for worker in group.workers if PARTITIONS[0] in worker.resumed)
    worker.interrupted = True
    await worker.read(PARTITIONS[0])
    assert group.generation == 2
    assert worker.waiting == []
