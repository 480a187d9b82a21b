"""Where a stage's records begin after a rebalance that Faust lost sight of: at the group's commit, without a hole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP

from streams.acks import Arrived
from streams.errors import Hole
from streams.faust_apps import StageApp, _Reader
from streams.kafka import create_topics
from streams.topics import TopicSpec
from tests.brokers import Broker


@dataclass
class Consumer:
    """Faust's, which does not know where it was resumed."""

    async def earliest_offsets(self, tp: TP) -> dict[TP, int]:
        return {tp: 0}

    def resumed_at(self, tp: TP) -> int | None:
        return None

    def done(self, tp: TP, offset: int) -> None: ...


@dataclass
class App:
    guarded_consumer: Any
    abandoned: bool = False


@dataclass
class Message:
    tp: TP
    offset: int
    generation_id: int = 7
    value: bytes | None = b"x"
    key: bytes | None = None


async def committed_at(broker: Broker, topic: str, group: str, offset: int) -> None:
    await create_topics(broker.bootstrap, [TopicSpec(topic, 1, compacted=False)])
    tp = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        await asyncio.gather(*[await producer.send(topic, b"x", partition=0) for _ in range(offset + 2)])
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False
    ) as member:
        await member.getmany(timeout_ms=1000)
        await member.commit({tp: offset})


@pytest.mark.parametrize(("offset", "hole"), [(3, False), (4, True)])
async def test_the_commit_says_where_the_records_begin(
    tansu_broker: Broker, prefix: str, offset: int, hole: bool
) -> None:
    topic, handled = f"{prefix}topic", list[int]()
    await committed_at(tansu_broker, topic, f"{prefix}stage", 3)

    async def handle(arrived: Arrived) -> None:
        handled.append(arrived.offset)

    stage = StageApp(f"{prefix}stage", [topic], handle, forget=lambda: None)
    reader = _Reader(stage, App(Consumer()), tansu_broker.bootstrap, broke=lambda why: None)  # type: ignore[arg-type]  # what it uses of the app
    if hole:
        with pytest.raises(Hole, match="4 came where 3 was expected"):
            await reader._one(Message(TP(topic, 0), offset))
    else:
        await reader._one(Message(TP(topic, 0), offset))
    assert handled == [] if hole else [offset]
