"""aiokafka's consumer and producer as far as the stages use them, on the broker in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from benchmarks.sim.broker import Broker, Committed, Group, Record
from benchmarks.sim.process import Process

POLL_S = 0.5  # an empty fetch is answered after this


def done_at_once(work: Coroutine[Any, Any, Any]) -> None:
    """Run what awaits nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a listener that waits is not looked at here")


class Consumer:
    """A member of one group."""

    def __init__(self, process: Process, broker: Broker, group: Group) -> None:
        self._process, self._broker, self._group = process, broker, group
        self._listener: ConsumerRebalanceListener | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._highs: dict[TopicPartition, int] = {}
        self._generation = 0
        self._fetcher = SimpleNamespace(_records={})  # what waits there is made lighter; here nothing does

    def subscribe(self, topics: list[str], listener: ConsumerRebalanceListener) -> None:
        self._listener = listener
        self._group.join(self)

    def revoke(self) -> None:
        if self._listener is not None:
            done_at_once(self._listener.on_partitions_revoked(list(self._positions)))

    def assign(self, generation: int, partitions: list[TopicPartition]) -> None:
        self._generation = generation
        self._positions = {tp: self._group.position(tp) for tp in partitions}
        self._highs = {}
        if self._listener is not None:
            done_at_once(self._listener.on_partitions_assigned(partitions))

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    async def position(self, tp: TopicPartition) -> int:
        if tp not in self._positions:
            raise IllegalStateError(f"{tp} is not assigned")
        return self._positions[tp]

    def highwater(self, tp: TopicPartition) -> int | None:
        return self._highs.get(tp)

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int = 500
    ) -> dict[TopicPartition, list[Record]]:
        """Looking where there is nothing is no step: what befalls a worker then befalls it as well at its next one."""
        if self._waits(tps):
            found = await self._process.do("fetch", lambda: self._fetch(tps, max_records), reads=True)
            if found:
                return found
        if timeout_ms:
            await asyncio.sleep(POLL_S)
        return {}

    def _waits(self, tps: Sequence[TopicPartition]) -> bool:
        """Whether there is anything to fetch."""
        self._highs = {tp: self._broker.end(tp) for tp in self._positions}
        return any(self._highs[tp] > position for tp, position in self._positions.items() if not tps or tp in tps)

    def _fetch(self, tps: Sequence[TopicPartition], most: int) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]] = {}
        rng = self._group.rng
        for tp, position in self._positions.items():
            self._highs[tp] = self._broker.end(tp)
            if (tps and tp not in tps) or rng.random() < 0.2:  # each partition is answered in its own time
                continue
            records = self._broker.logs[tp][position : position + min(most, rng.choice([1, 2, 5]))]
            if records:
                found[tp] = records
                self._positions[tp] = records[-1].offset + 1
        return found

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp in self._positions:
            self._positions[tp] = offset

    async def seek_to_beginning(self, tp: TopicPartition) -> None:
        self.seek(tp, 0)

    async def committed(self, tp: TopicPartition) -> int | None:
        return await self._process.do("ask what is committed", lambda: self._group.position(tp) or None)

    async def commit(self, offsets: Mapping[TopicPartition, int | OffsetAndMetadata]) -> None:
        asked = {tp: as_committed(offset) for tp, offset in offsets.items()}
        if not asked.keys() <= self._positions.keys():
            raise IllegalStateError("not assigned")
        generation = self._generation
        if asked:
            await self._process.do("commit", lambda: self._group.commit(self, generation, asked))

    async def stop(self) -> None:
        self._group.leave(self)


def as_committed(offset: int | OffsetAndMetadata) -> Committed:
    if isinstance(offset, int):
        return Committed(offset, "")
    return Committed(offset.offset, offset.metadata)


class _Sent(NamedTuple):
    value: bytes
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    acknowledged: asyncio.Future[Record]


class Producer:
    """One batch of a partition in flight, the next when it is acknowledged or given up: in order, with holes."""

    def __init__(self, process: Process, broker: Broker) -> None:
        self._process, self._broker = process, broker
        self._queues: dict[TopicPartition, deque[_Sent]] = {}

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Record]:
        tp = TopicPartition(topic, partition)
        sent = _Sent(value, key, tuple(headers), asyncio.get_running_loop().create_future())
        queue = self._queues.setdefault(tp, deque())
        queue.append(sent)
        if len(queue) == 1:
            self._process.spawn(self._deliver(tp, queue))
        return sent.acknowledged

    async def send_and_wait(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Record:
        return await (await self.send(topic, value, key=key, partition=partition, headers=headers))

    async def _deliver(self, tp: TopicPartition, queue: deque[_Sent]) -> None:
        while queue:
            one = queue[0]
            try:
                written = await self._process.do(
                    f"write to {tp.topic}-{tp.partition}",
                    lambda one=one: self._broker.append(tp, one.value, one.key, one.headers),  # type: ignore[misc]
                )
            except Exception as error:  # what the broker says, for who still waits
                if not one.acknowledged.done():
                    one.acknowledged.set_exception(error)
            else:
                if not one.acknowledged.done():
                    one.acknowledged.set_result(written)
            queue.popleft()
