"""Faust as we need it: commits only what was declared done, and fetches without waiting; measured on both brokers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import TPorTopicSet

from streams.kafka import MAX_RECORD_BYTES, Timing

_FULL_WAIT_S: Final = 0.02


class OneNumberOneWorker(RangePartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """The partitions of one number go to one worker, whatever their topics, for they share one state: Faust's own way,
    aiokafka's round robin, gives them to several where workers do not divide partitions evenly.

    It goes by the name of the other, so that a group may have workers of before and after for the time of a restart:
    its leader decides. Two names at once would do, too, but aiokafka 0.14 joins anew for each. See
    docs/adr/0035-one-number-one-worker.md.
    """

    name = "roundrobin"


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes 1500 ms. Tansu answers a waiting fetch only after half of that; 20 ms make it 6 ms at the median.
        consumer._fetch_max_wait_ms = cast("Engine", self.app).fetch_max_wait_ms
        consumer._partition_assignment_strategy = (OneNumberOneWorker,)
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Where nothing is committed Faust seeks nothing. A record that a rebalance overtook would not come again, and
        the next one would pass for one behind a hole.
        """
        found: Mapping[TP, int] = await super().seek_to_committed()
        fresh = [tp for tp, offset in found.items() if offset is None]
        if fresh:
            with suppress(IllegalStateError):  # taken away meanwhile: whoever gets them begins there anyway
                await self.call_thread(self._ensure_consumer().seek_to_beginning, *fresh)
        return found


class GuardedConsumer(driver.Consumer):
    """Commits what was declared done, and nothing that follows from Faust's own list of acknowledged offsets.

    That list can commit past a record that was never processed (a guard `> 1` where one missing record needs `>= 1`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Faust's own
        super().__init__(*args, **kwargs)
        self._done: dict[TP, int] = {}

    def done(self, tp: TP, next_offset: int) -> None:
        """All before `next_offset` is processed for good; the next commit may say so."""
        self._done[tp] = max(next_offset, self._done.get(tp, 0))

    def resumed_at(self, tp: TP) -> int | None:
        """The offset this assignment began at; None where Faust does not know, for a rebalance overtook its seek."""
        return self._committed_offset.get(tp)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(
        self,
        timeout: float,  # noqa: ASYNC109 - Faust's own
    ) -> tuple[Any, set[TP] | None]:
        """Faust leaves out partitions of which enough waits here, and waits a second for others, or for nothing.
        Meanwhile the stage has long worked off what waited, and stands still.
        """
        if not self._buffered_partitions:
            return await super()._wait_next_records(timeout)
        if self._get_active_partitions():
            return await super()._wait_next_records(_FULL_WAIT_S)
        await self.sleep(_FULL_WAIT_S)
        return {}, set()

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        return (tp for tp in self._done if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._done.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._done.pop(tp, None)


class _Transport(driver.Transport):
    Consumer = GuardedConsumer


class Engine(faust.App):
    """A Faust app with the settings that hold on both brokers."""

    def __init__(
        self,
        app_id: str,
        bootstrap: str,
        *,
        timing: Timing,
    ) -> None:
        self.fetch_max_wait_ms = timing.fetch_wait_ms
        self.abandoned = False  # its stage belongs to another app by now; stopping may take half a minute
        super().__init__(
            app_id,
            broker=f"kafka://{bootstrap}",
            store="memory://",
            processing_guarantee="at_least_once",
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,  # topics are made explicitly, before
            topic_disable_leader=True,
            topic_replication_factor=1,  # of topics Faust would make; ours are made before
            table_standby_replicas=0,
            # Waiting for held-back messages would block each rebalance and each stop.
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            stream_buffer_maxsize=16,  # frames of 400 KB: 6 MB, not 1.6 GB
            broker_commit_interval=0.5,
            # Tansu lets a new member wait for half the session timeout, and keeps one that left for all of it.
            broker_session_timeout=timing.session_timeout_s,
            broker_heartbeat_interval=timing.session_timeout_s / 4,
            broker_rebalance_timeout=max(3.0, timing.session_timeout_s),
            broker_request_timeout=40.0,
            broker_max_poll_interval=120.0,
            consumer_max_fetch_size=MAX_RECORD_BYTES,
            producer_acks=-1,
            producer_max_request_size=MAX_RECORD_BYTES,
            producer_request_timeout=30.0,
        )

    def _create_directories(self) -> None:
        """Nothing of ours is kept in Faust's folders, so none is made where the user happens to stand."""

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self, loop=self.loop)

    @property
    def guarded_consumer(self) -> GuardedConsumer:
        """The consumer; its `done` decides what is committed."""
        return cast("GuardedConsumer", self.consumer)

    def bytes_topic(self, *names: str) -> Any:  # noqa: ANN401 - Faust's topic
        """Topics whose records are bytes, untouched."""
        return self.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
