"""The mark of the ingest: records to columns to frames, and none of what makes them safe to score.

    python -m benchmarks.bare_columns --bootstrap HOST:PORT --raw TOPIC --group G --events N

aiokafka's `getmany`, the records as one text, `pyarrow.json` with the columns' types given, one check of bounds, rows
to four partitions by their key, an lz4 frame for each, produced. No secret is looked for, nothing is priced, no address
becomes a network, no retry is recognised, no text is bounded, no row knows its record, nothing is ordered by time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.contender import Stopwatch, asked
from streams.kafka import create_topics
from streams.topics import Topic, Topics

PARTITIONS: Final = 4
_TEXT: Final = (
    "event_id", "provider", "key_id", "model", "endpoint", "ip", "user_agent", "user_id", "team", "app", "env",
)  # fmt: skip
_NUMBERS: Final = ("requests", "input_tokens", "cached_input_tokens", "output_tokens", "status")
_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in _TEXT]
    + [(name, pa.int64()) for name in _NUMBERS]
    + [("ts", pa.timestamp("ms", "UTC")), ("latency_ms", pa.float64()), ("cost_usd", pa.float64())]
)


def columns(values: list[bytes]) -> pa.RecordBatch:
    """Records as rows; ValueError for a negative count."""
    text = b"\n".join(values)
    table = arrow_json.read_json(
        pa.py_buffer(text),
        arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        arrow_json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"),
    )
    if any((pc.min(table[name]).as_py() or 0) < 0 for name in _NUMBERS):
        raise ValueError("a negative count")
    return table.combine_chunks().to_batches()[0]


def frames(rows: pa.RecordBatch) -> dict[int, bytes]:
    """Partition → its rows as one lz4 frame."""
    keys = rows["key_id"].dictionary_encode()
    of_key = np.array([hash(key) % PARTITIONS for key in keys.dictionary.to_pylist()])
    of_row = of_key[keys.indices.to_numpy()]
    return {p: _encoded(rows.take(pa.array(np.flatnonzero(of_row == p)))) for p in range(PARTITIONS)}


def _encoded(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """From the first fetched records to the last frame that is acknowledged."""
    topics = Topics(f"{arguments.group}.", PARTITIONS)
    await create_topics(arguments.bootstrap, topics.specs())
    consumer = AIOKafkaConsumer(
        arguments.raw, bootstrap_servers=arguments.bootstrap, group_id=arguments.group, enable_auto_commit=False,
        auto_offset_reset="earliest", fetch_max_bytes=32_000_000, max_partition_fetch_bytes=8_000_000,
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=arguments.bootstrap, max_request_size=8_000_000)
    await consumer.start()
    await producer.start()
    try:
        fetched, done, watch = await consumer.getmany(timeout_ms=30_000, max_records=5000), 0, Stopwatch()
        watch.begin()
        while True:
            rows = columns([record.value for records in fetched.values() for record in records])
            acks = [
                await producer.send(topics.name(Topic.FRAMES), frame, partition=partition)
                for partition, frame in frames(rows).items()
            ]
            done += rows.num_rows
            if done >= arguments.events:
                break
            fetched = await consumer.getmany(timeout_ms=1000, max_records=5000)
        await asyncio.gather(*acks)
        watch.end()
    finally:
        await consumer.stop()
        await producer.stop()
    return watch.measured(done)


def main() -> None:
    print(json.dumps(asyncio.run(measure(asked().parse_args()))))


if __name__ == "__main__":
    main()
