"""What the HTTP intake hands to Kafka: answered for only when the broker has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, RequestTimedOutError

from schemas.records import Record
from sources.errors import BrokerDown, BrokerSlow
from streams.outbox import Outbox
from streams.topics import Topic

_PATIENCE_S: Final = 5.0
_IN_FLIGHT: Final = 200  # messages waiting for the broker; more and producers are asked to come back


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """What the broker may do to a sender, in the intake's words: BrokerSlow after 5 s, or BrokerDown."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            yield
    except (TimeoutError, KafkaTimeoutError, RequestTimedOutError) as error:
        raise BrokerSlow(int(_PATIENCE_S)) from error
    except (KafkaConnectionError, KafkaError) as error:
        raise BrokerDown(str(error)) from error


class Publisher:
    """Bounded: what waits for a slow broker never fills the memory."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._waiting = 0

    async def __call__(self, messages: Sequence[tuple[bytes | None, bytes, str | None]]) -> None:
        """BrokerSlow after 5 s or when too much waits; BrokerDown when the broker does not answer."""
        if self._waiting + len(messages) > _IN_FLIGHT and self._waiting:
            raise BrokerSlow(1)
        self._waiting += len(messages)
        try:
            async with _in_time():
                acks = [await self._send(*message) for message in messages]
                await asyncio.gather(*acks)
        finally:
            self._waiting -= len(messages)

    async def _send(self, key: bytes | None, value: bytes, fmt: str | None) -> asyncio.Future[object]:
        headers = [("format", fmt.encode())] if fmt else None
        future: asyncio.Future[object] = await self._producer.send(self._topic, value, key=key, headers=headers)
        return future


class RecordPublisher:
    """Records of the stages that come in over HTTP, answered for like events."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def __call__(self, *records: tuple[Topic, Iterable[tuple[str, Record]]]) -> None:
        """Topic by topic, in this order. BrokerSlow after 5 s; BrokerDown when the broker does not answer."""
        async with _in_time():
            for topic, keyed in records:
                await self._outbox.send(topic, keyed)
