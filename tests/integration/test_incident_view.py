"""The view follows the topic of a real broker, from a time on."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaProducer

from streams.incident_view import IncidentView, follow_incidents
from streams.kafka import create_topics
from streams.outbox import Outbox
from streams.topics import Topic, Topics
from tests.alerting.world import incident
from tests.brokers import Broker
from tests.integration.world import until


async def test_it_reads_what_was_there_and_follows_what_comes(broker: Broker, prefix: str) -> None:
    topics = Topics(prefix, 2)
    await create_topics(broker.bootstrap, topics.specs())
    view, stop = IncidentView(), asyncio.Event()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as sender:
        outbox = Outbox(sender, topics)
        before = [incident(incident_id=f"inc_{n}", key_id=f"key_{n}") for n in range(8)]
        await outbox.send(Topic.INCIDENTS, [(each.key_id, each) for each in before])
        following = asyncio.create_task(
            follow_incidents(
                broker.bootstrap, topics.name(Topic.INCIDENTS), topics.count(Topic.INCIDENTS), view=view,
                since_ms=time.time_ns() // 1_000_000 - 60_000, stopping=stop.is_set,
            )
        )  # fmt: skip
        await until(lambda: all(view.get(each.incident_id) for each in before), lambda: f"8; {len(view.open())} seen")
        after = before[3].model_copy(update={"seq": before[3].seq + 1, "state": "contained"})
        await outbox.send(Topic.INCIDENTS, [(after.key_id, after)])
        await until(lambda: view.get("inc_3") == after, lambda: f"the new version; seen {view.get('inc_3')}")
    stop.set()
    await asyncio.wait_for(following, 20)
