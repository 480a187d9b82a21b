"""`keyfuse.stats` to everybody who asks: not shared out in a group, only the newest matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer
from pydantic import ValidationError

from schemas.records import PartitionStats


async def follow_stats(
    bootstrap: str, topic: str, listeners: Sequence[Callable[[PartitionStats], None]], stopping: Callable[[], bool]
) -> None:
    """Tell each listener what the score partitions say of themselves, until `stopping`."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="latest"
    )
    await consumer.start()
    try:
        while not stopping():
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    try:
                        stats = PartitionStats.from_bytes(record.value)
                    except ValidationError:
                        continue  # the next one comes in two seconds
                    for listener in listeners:
                        listener(stats)
    finally:
        await consumer.stop()
