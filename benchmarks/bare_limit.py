"""The usual way, and nothing else: aiokafka's `getmany` and the pydantic model of each record.

    python -m benchmarks.bare_limit --bootstrap HOST:PORT --raw TOPIC --group G --events N

`UsageEvent.model_validate(orjson.loads(value))` or `UsageEvent.model_validate_json(value)`, whichever is faster on
this machine for these records: tried on the first 2,000 of them before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer

from benchmarks.contender import Stopwatch, asked
from schemas.event import UsageEvent

_TRIED: Final = 2000


def with_orjson(value: bytes) -> UsageEvent:
    return UsageEvent.model_validate(orjson.loads(value))


WAYS: Final[dict[str, Callable[[bytes], UsageEvent]]] = {
    "model_validate(orjson.loads(...))": with_orjson,
    "model_validate_json(...)": UsageEvent.model_validate_json,
}


def faster_way(values: list[bytes]) -> str:
    """The quicker of both on these values; best of three each."""

    def seconds(way: Callable[[bytes], UsageEvent]) -> float:
        started = time.process_time()
        for value in values:
            way(value)
        return time.process_time() - started

    return min(WAYS, key=lambda name: min(seconds(WAYS[name]) for _ in range(3)))


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """From the first fetched records to the last validated one."""
    consumer = AIOKafkaConsumer(
        arguments.raw,
        bootstrap_servers=arguments.bootstrap,
        group_id=arguments.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5000,
        fetch_max_bytes=32_000_000,
        max_partition_fetch_bytes=8_000_000,
    )
    await consumer.start()
    try:
        first = await consumer.getmany(timeout_ms=30_000)
        way = faster_way([record.value for records in first.values() for record in records][:_TRIED])
        validate, done, fetched, watch = WAYS[way], 0, first, Stopwatch()
        watch.begin()
        while True:
            for records in fetched.values():
                for record in records:
                    validate(record.value)
                done += len(records)
            if done >= arguments.events:
                break
            fetched = await consumer.getmany(timeout_ms=1000)
        watch.end()
    finally:
        await consumer.stop()
    return {**watch.measured(done), "way": way}


def main() -> None:
    print(json.dumps(asyncio.run(measure(asked().parse_args()))))


if __name__ == "__main__":
    main()
