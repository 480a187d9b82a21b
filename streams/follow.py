"""A topic to everybody who asks: all of it, not shared out in a group, and then whatever comes."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka import at_end

Take = Callable[[bytes | None, bytes | None], bool]
"""One record's key and value; True when it changed something."""


async def follow(
    bootstrap: str, topic: str, partitions: int, *, take: Take, changed: Callable[[], None],
    stopping: Callable[[], bool], fetch_wait_ms: int = 500,
) -> None:  # fmt: skip
    """Hand on every record; say `changed` at the topic's end, and there again after what changed something.

    Never in between: a part of what is known can be worse than nothing. Ends at the end, once `stopping`.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
        fetch_max_wait_ms=fetch_wait_ms,
    )  # fmt: skip
    await consumer.start()
    news = True
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        while True:
            if news and await at_end(consumer, tps):
                changed()
                news = False
            if not news and stopping():
                return
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    news |= take(record.key, record.value)
    finally:
        await consumer.stop()
