"""The only module that knows Faust: one app, one agent, one consumer group for each stage. See docs/adr/0002."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import faust
import structlog
from aiokafka import TopicPartition

from streams.changelog import Changelog
from streams.kafka import MAX_RECORD_BYTES

log = structlog.get_logger()
_REBALANCE_S: Final = 3.0  # Tansu answers a join only after it


@dataclass(frozen=True)
class Arrived:
    """One record for a stage. `ack` may be called later, in any order; what is not acknowledged comes again."""

    topic: str
    partition: int
    offset: int
    value: bytes
    ack: Callable[[], object]


@dataclass(frozen=True)
class StageApp:
    """What Faust is told about a stage."""

    name: str  # of the consumer group
    topics: Sequence[str]
    handle: Callable[[Arrived], Awaitable[None]]
    forget: Callable[[], None]  # on a rebalance, before records of the new assignment come
    changelog: Changelog | None = None
    restored: Callable[[int, Mapping[bytes, bytes]], None] | None = None
    tick: Callable[[], Awaitable[None]] | None = None
    tick_s: float = 1.0
    failed: Callable[[str], None] | None = None


def new_app(stage: StageApp, bootstrap: str) -> faust.App:
    """A Faust app around one stage: at least once, concurrency 1, acknowledged by the stage and by nobody else."""
    app = faust.App(
        stage.name,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=None,
        web_enabled=False,
        autodiscover=False,
        processing_guarantee="at_least_once",
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_replication_factor=1,
        broker_rebalance_timeout=_REBALANCE_S,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_request_timeout=20.0,
        broker_commit_interval=0.5,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        stream_buffer_maxsize=64,
        table_standby_replicas=0,
        producer_acks=-1,
        producer_max_request_size=MAX_RECORD_BYTES,
        consumer_max_fetch_size=MAX_RECORD_BYTES,
    )
    source = app.topic(*stage.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    guard = _Order(stage)
    app.agent(source, concurrency=1, name=stage.name)(guard.read(app))
    app.on_partitions_assigned.connect(guard.on_assigned)  # type: ignore[arg-type]  # looser than typed
    app.on_partitions_revoked.connect(guard.on_revoked)  # type: ignore[arg-type]  # likewise
    app.timer(stage.tick_s)(guard.tick)
    return app


class _Order:
    """Hands records on in the order of their offsets, each once per assignment.

    Records that were buffered before a rebalance may still come after it. A record that jumps ahead would make the
    state look newer than it is, so it is left alone: Faust reads again from the committed offset.
    """

    def __init__(self, stage: StageApp) -> None:
        self._stage = stage
        self._next: dict[TopicPartition, int] = {}
        self._assigned: set[int] = set()
        self._loading = asyncio.Lock()

    async def on_revoked(self, _sender: Any, _partitions: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal
        self._assigned.clear()
        self._next.clear()
        self._stage.forget()
        if self._stage.changelog is not None:
            self._stage.changelog.drop()

    async def on_assigned(self, sender: Any, partitions: Any, **_: Any) -> None:  # noqa: ANN401 - Faust's signal
        await self.on_revoked(sender, partitions)
        self._assigned = {tp.partition for tp in partitions if tp.topic in self._stage.topics}

    async def tick(self) -> None:
        for partition in sorted(self._assigned):
            await self._load(partition)
        if self._stage.tick is not None:
            await self._stage.tick()

    async def _load(self, partition: int) -> None:
        changelog = self._stage.changelog
        if changelog is not None and not changelog.loaded(partition):
            async with self._loading:
                await changelog.load(partition)
                if self._stage.restored is not None:
                    self._stage.restored(partition, changelog.items(partition))

    def read(self, app: faust.App) -> Callable[[Any], Awaitable[None]]:
        async def agent(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
            async for event in stream.noack().events():
                await self._one(app, event.message)

        return agent

    async def _one(self, app: faust.App, message: Any) -> None:  # noqa: ANN401 - Faust's message
        tp = TopicPartition(message.topic, message.partition)
        committed = getattr(app.consumer, "_committed_offset", {}).get(message.tp)  # the offset it resumed from
        expected = self._next.get(tp, committed if committed is not None else message.offset)
        if message.offset > expected and tp not in self._next and committed is not None:
            log.warning("record left alone: it jumps ahead", stage=self._stage.name, got=message.offset, want=expected)
            return
        self._next[tp] = message.offset + 1
        value, message.value, message.key = message.value, None, None  # coordinates stay, payloads go
        arrived = Arrived(tp.topic, tp.partition, message.offset, value, lambda: app.consumer.ack(message))
        try:
            await self._load(tp.partition)
            await self._stage.handle(arrived)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Faust would log it, restart the agent and go on behind this record: the stage stops instead.
            if self._stage.failed is not None:
                self._stage.failed(f"{type(error).__name__}: {error}")
            log.exception("stage stopped", stage=self._stage.name, topic=tp.topic, offset=message.offset)
            raise
