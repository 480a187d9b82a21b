"""Stages on Faust: one app, one agent, one consumer group for each. See docs/adr/0002-faust-behind-register.md."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from faust.types import TP

from streams.acks import Acks, Arrived
from streams.changelog import Changelog
from streams.errors import Hole, Overtaken
from streams.faust_engine import Engine
from streams.kafka import Timing, committed

log = structlog.get_logger()


@dataclass(frozen=True)
class StageApp:
    """What Faust is told about a stage."""

    name: str  # of the consumer group
    topics: Sequence[str]
    handle: Callable[[Arrived], Awaitable[None]]
    forget: Callable[[], None]  # on a rebalance, before records of the new assignment come
    changelog: Changelog | None = None
    claims: bool = False
    """Whether its state follows from what was read: then an owner claims a partition before it loads it."""
    restored: Callable[[int, Mapping[bytes, bytes]], None] | None = None
    tick: Callable[[], Awaitable[None]] | None = None
    tick_s: float = 1.0


def new_app(stage: StageApp, bootstrap: str, *, timing: Timing, broke: Callable[[str], None]) -> Engine:
    """A Faust app around one stage: at least once, concurrency 1, committed when the stage says so.

    `broke` is called once when a record could not be handled: nothing behind it is handled by this app, so that the
    next one starts at it again.
    """
    app = Engine(stage.name, bootstrap, timing=timing)
    reader = _Reader(stage, app, bootstrap, broke)
    app.agent(app.bytes_topic(*stage.topics), concurrency=1, name=stage.name)(reader.read)
    app.on_partitions_assigned.connect(reader.on_assigned)  # type: ignore[arg-type]  # looser than typed
    app.on_partitions_revoked.connect(reader.on_revoked)  # type: ignore[arg-type]  # likewise
    app.timer(stage.tick_s)(reader.tick)
    return app


class _Reader:
    """Hands records on, in the order of their offsets and without holes, and tells Faust what is done."""

    def __init__(self, stage: StageApp, app: Engine, bootstrap: str, broke: Callable[[str], None]) -> None:
        self._stage = stage
        self._app = app
        self._bootstrap = bootstrap
        self._broke = broke
        self._broken = False
        self._expected: dict[tuple[TP, int | None], int] = {}
        self._acks: dict[TP, Acks] = {}
        self._assigned: set[int] = set()
        self._loading = asyncio.Lock()
        self._restored: set[int] = set()  # what the stage was told of; a stage's own work may load more

    async def on_revoked(self, _sender: Any, _partitions: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal
        if self._app.abandoned:
            return
        self._assigned = set()
        self._expected.clear()
        self._acks.clear()
        self._restored = set()
        self._stage.forget()
        if self._stage.changelog is not None:
            self._stage.changelog.drop()

    async def on_assigned(self, sender: Any, partitions: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal
        await self.on_revoked(sender, partitions)
        self._assigned = {tp.partition for tp in partitions if tp.topic in self._stage.topics}

    async def tick(self) -> None:
        """Faust's timer: state is loaded also where no record comes."""
        if self._broken or self._app.abandoned:
            return
        restored = self._restored
        try:
            for partition in sorted(self._assigned):
                await self._load(partition)
            if self._stage.tick is not None:
                await self._stage.tick()
        except Exception as error:  # the boundary to Faust, which would log and go on
            if not isinstance(error, Overtaken) or restored is self._restored:
                self._give_up(error)

    async def read(self, stream: Any) -> None:  # noqa: ANN401 - Faust's stream
        """The agent."""
        async for event in stream.noack().events():
            if self._broken or self._app.abandoned:
                continue
            restored = self._restored
            try:
                await self._one(event.message)
            except Exception as error:  # Faust would restart the agent behind this record
                # What a rebalance overtook comes again, to whoever has the partition now.
                if not isinstance(error, Overtaken) or restored is self._restored:
                    self._give_up(error)

    async def _one(self, message: Any) -> None:  # noqa: ANN401 - Faust's message
        tp = message.tp
        await self._check_order(message)
        acks = self._acks.setdefault(tp, Acks())
        acks.came(message.offset)
        value, message.value, message.key = message.value, None, None  # coordinates stay, payloads go
        offset, consumer = message.offset, self._app.guarded_consumer

        def ack() -> None:
            if self._acks.get(tp) is acks:  # else it was reassigned, and comes again
                consumer.done(tp, acks.ended(offset))

        await self._load(tp.partition)
        if self._acks.get(tp) is not acks:
            return  # reassigned meanwhile: it comes again
        await self._stage.handle(Arrived(tp.topic, tp.partition, offset, value, ack))

    async def _check_order(self, message: Any) -> None:  # noqa: ANN401 - Faust's message
        """A record that was skipped on its way here must not be passed: it would be committed with what follows."""
        position = (message.tp, message.generation_id)
        if position not in self._expected:
            restored = self._restored
            consumer = self._app.guarded_consumer
            earliest = (await consumer.earliest_offsets(message.tp))[message.tp]
            resumed = consumer.resumed_at(message.tp)
            if resumed is None:
                resumed, _ = await committed(self._bootstrap, self._stage.name, message.tp)
            if restored is not self._restored:  # else the stage would be given a record of what it may have lost
                raise Overtaken("the partition was given up meanwhile: the record comes again")
            self._expected[position] = max(resumed, earliest)
        if message.offset > self._expected[position]:
            raise Hole(f"{message.tp}: {message.offset} came where {self._expected[position]} was expected")
        self._expected[position] = message.offset + 1

    async def _load(self, partition: int) -> None:
        changelog = self._stage.changelog
        if changelog is None or (partition in self._restored and changelog.loaded(partition)):
            return
        async with self._loading:
            assigned = self._assigned
            if self._stage.claims and partition not in self._restored:
                await changelog.claim(partition)
            await changelog.load(partition)
            if assigned is not self._assigned or partition not in assigned:
                return  # a rebalance meanwhile: a stage that took the state for its own would write it
            if partition not in self._restored and self._stage.restored is not None:
                self._stage.restored(partition, changelog.items(partition))
            self._restored.add(partition)

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        log.error("stage broke", stage=self._stage.name, why=f"{type(error).__name__}: {error}", exc_info=error)
        self._broke(f"{type(error).__name__}: {error}")
