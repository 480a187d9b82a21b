"""The score stage, under the Faust reader that it has in production, and what Faust does around it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from faust.types import TP

from benchmarks.sim.broker import Broker, Committed, Record
from benchmarks.sim.clients import POLL_S, Producer
from benchmarks.sim.process import Process
from benchmarks.sim.roles import METRICS, RESTART_S, joined, now_ms, now_s
from benchmarks.sim.settings import TOPICS, remembered_core
from streams.acks import Arrived
from streams.changelog import Changelog, StateRecord, claim_of
from streams.faust_apps import StageApp, _Reader
from streams.health import StageProgress
from streams.outbox import Outbox
from streams.score import ScoreStage
from streams.topics import StateTopic, Topic

if TYPE_CHECKING:
    from benchmarks.sim.world import World


class State(Changelog):
    """The changelog itself, on the log in memory."""

    def __init__(self, process: Process, broker: Broker, producer: Producer) -> None:
        super().__init__("nowhere", TOPICS.state_name(StateTopic.SCORE), cast("Any", producer))
        self._process, self._broker = process, broker

    async def _records(self, partition: int) -> list[StateRecord]:
        tp = TopicPartition(self._topic, partition)
        return await self._process.do("load state", lambda: records_of(self._broker.logs[tp]))


def records_of(log: list[Record]) -> list[StateRecord]:
    return [StateRecord(record.key or b"", record.value, claim_of(record.headers)) for record in log]


class Score:
    """A member of the score group: what Faust and its guarded consumer do around the reader of a stage."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process, self._group = world, process, world.groups["score"]
        self.abandoned = False
        self.guarded_consumer = self
        self._positions: dict[TopicPartition, int] = {}
        self._resumed: dict[TP, int] = {}
        self._done: dict[TP, int] = {}
        self._generation = 0
        self._restarting: asyncio.Task[None] | None = None
        producer = Producer(process, world.broker)
        state = State(process, world.broker, producer)
        self._stage = ScoreStage(
            new_core=remembered_core, store=state, outbox=Outbox(cast("Any", producer), TOPICS), topics=TOPICS,
            metrics=METRICS, progress=StageProgress("score", 0), settings=world.state,
        )  # fmt: skip
        self._app = StageApp(
            "score", [TOPICS.name(Topic.FRAMES)], self._handle, self._stage.drop, changelog=state, claims=True,
            tick=self._stage_tick,
        )  # fmt: skip
        self._begin()
        joined(process, self._group, self)
        self._group.join(self)
        process.spawn(self._commit_for_ever())
        process.spawn(self._tick_for_ever())

    def _begin(self) -> None:
        """A new app around the same stage, as its keeper does it when one broke."""
        self._stage.drop()
        self._reader = _Reader(self._app, cast("Any", self), "", self._broke)
        self._reading = self._process.spawn(self._reader.read(self))

    def _broke(self, _why: str) -> None:
        if self._restarting is None or self._restarting.done():
            self._restarting = self._process.spawn(self._again())

    async def _again(self) -> None:
        self._group.leave(self)
        self._positions, self._done = {}, {}
        self._reading.cancel()
        await asyncio.sleep(RESTART_S)
        self._begin()
        self._group.join(self)

    async def _handle(self, frame: Arrived) -> None:
        await self._stage.on_frame(frame, now_s=now_s(), now_ms=now_ms())

    async def _stage_tick(self) -> None:
        await self._stage.tick(now_s=now_s(), now_ms=now_ms())

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self._reader.tick()

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if self._done:
                try:
                    await self._process.do("commit", partial(self._commit, self._generation))
                except Exception:  # Faust logs it, and commits again later
                    continue

    def _commit(self, generation: int) -> None:
        offsets = {TopicPartition(*tp): Committed(offset, "") for tp, offset in self._done.items()}
        self._group.commit(self, generation, offsets)

    def revoke(self) -> None:
        if self._process.alive and self._done and self._world.luck.rng.random() < 0.5:
            with suppress(CommitFailedError):  # it was expelled before
                self._commit(self._generation)
        self._done.clear()
        self._signal(self._reader.on_revoked, [])

    def assign(self, generation: int, partitions: list[TopicPartition]) -> None:
        self._generation = generation
        self._positions = {tp: self._group.position(tp) for tp in partitions}
        self._resumed = {TP(*tp): offset for tp, offset in self._positions.items()}
        self._signal(self._reader.on_assigned, partitions)

    def _signal(self, tell: Any, partitions: list[TopicPartition]) -> None:  # noqa: ANN401 - one of two methods
        try:
            tell(self, partitions).send(None)
        except StopIteration:
            return

    def noack(self) -> Score:
        return self

    def events(self) -> Score:
        return self

    def __aiter__(self) -> Score:
        return self

    async def __anext__(self) -> SimpleNamespace:
        """One record after another, from the partitions that are mine now."""
        await asyncio.sleep(0)
        while not (ready := self._ready()):  # noqa: ASYNC110 - a consumer polls
            await asyncio.sleep(POLL_S)
        tp = self._world.luck.rng.choice(sorted(ready))
        record = self._world.broker.logs[tp][self._positions[tp]]
        self._positions[tp] += 1
        message = SimpleNamespace(
            tp=TP(*tp), offset=record.offset, partition=tp.partition, value=record.value, key=None,
            generation_id=self._generation,
        )  # fmt: skip
        return SimpleNamespace(message=message)

    def _ready(self) -> list[TopicPartition]:
        return [tp for tp, position in self._positions.items() if position < self._world.broker.end(tp)]

    def done(self, tp: TP, next_offset: int) -> None:
        self._done[tp] = max(next_offset, self._done.get(tp, 0))

    def resumed_at(self, tp: TP) -> int:
        return self._resumed.get(tp, 0)

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return await self._process.do("ask for offsets", lambda: dict.fromkeys(tps, 0))
