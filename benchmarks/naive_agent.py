"""The naive Faust agent: one JSON record, one table update and one River call per event.

    python -m benchmarks.naive_agent --bootstrap HOST:PORT --raw TOPIC --group G --events N

River's `GaussianScorer` for each key, the cheapest of its anomaly detectors; Faust as it comes, table in memory with
its changelog in Kafka. Measured from the first event that reaches the agent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from collections import defaultdict
from typing import Any

import faust
from river.anomaly import GaussianScorer


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the app, wait for the agent's last event, stop."""
    app = faust.App(
        arguments.group, broker=f"kafka://{arguments.bootstrap}", store="memory://", web_enabled=False,
        topic_partitions=arguments.partitions, autodiscover=False, datadir=tempfile.mkdtemp(),
    )  # fmt: skip
    topic = app.topic(arguments.raw, value_type=bytes, value_serializer="json")
    spent = app.Table("tokens", default=int, partitions=arguments.partitions)
    models: dict[str, Any] = defaultdict(lambda: GaussianScorer(window_size=None, grace_period=100))  # type: ignore[no-untyped-call]  # River ships no types
    seen, marks, ended = 0, [0.0, 0.0, 0.0, 0.0], asyncio.Event()

    async def score(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
        nonlocal seen
        async for event in stream:
            if seen == 0:
                marks[:2] = time.perf_counter(), time.process_time()
            key, value = event["key_id"], event["input_tokens"] + event["output_tokens"]
            spent[key] += value
            model = models[key]
            model.score_one(None, value)
            model.learn_one(None, value)
            seen += 1
            if seen == arguments.events:
                marks[2:] = time.perf_counter(), time.process_time()
                ended.set()

    app.agent(topic)(score)
    await app.start()
    try:
        await ended.wait()
    finally:
        await app.stop()
    return {"events": arguments.events, "seconds": marks[2] - marks[0], "cpu_s": marks[3] - marks[1]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--partitions", type=int, default=4)
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
