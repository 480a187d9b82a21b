"""How far usage has been seen: the newest moment of which everything that had come in by then is in the budgets.

Each topic on the way is chased to where it ended when the one before was done with:

    usage.raw's end now → ingest has it → usage.frames' end → sums have it → keyfuse.spend's end → the desk has it

No clock of another machine is asked, and no event's time believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

_LOOK_EVERY_S: Final = 1.0
_TOLD_AFTER_S: Final = 3.0  # the desk tells where budgets stand a moment after it is done with a record
log = structlog.get_logger()

Step = tuple[str, int, str]
"""A topic, its partitions, and the group that is done with it."""


async def follow_usage(
    bootstrap: str, steps: Sequence[Step], *, mono_ms: Callable[[], int], caught_up: Callable[[int], None],
    stopping: Callable[[], bool], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:  # fmt: skip
    """Again and again, until `stopping`; without the broker it waits."""
    while not stopping():
        try:
            consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
            admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
            await consumer.start()
            await admin.start()
            try:
                while not stopping():
                    began_ms = mono_ms()
                    for step in steps:
                        await _passed(consumer, admin, step, stopping, sleep)
                    await sleep(_TOLD_AFTER_S)
                    if not stopping():
                        caught_up(began_ms)
            finally:
                await admin.close()
                await consumer.stop()
        except (KafkaError, OSError) as error:
            log.warning("cannot tell how far usage was seen", why=str(error))
            await sleep(_LOOK_EVERY_S)


async def _passed(
    consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient, step: Step, stopping: Callable[[], bool],
    sleep: Callable[[float], Awaitable[None]],
) -> None:  # fmt: skip
    """Return when the group is done with all that is in the topic now."""
    topic, partitions, group = step
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    while not stopping():
        done = await admin.list_consumer_group_offsets(group, partitions=tps)
        if all(ends[tp] <= begins[tp] or (tp in done and done[tp].offset >= ends[tp]) for tp in tps):
            return
        await sleep(_LOOK_EVERY_S)
