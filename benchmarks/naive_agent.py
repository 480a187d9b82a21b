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
from collections import defaultdict
from typing import Any

import faust
from river.anomaly import GaussianScorer

from benchmarks.contender import Stopwatch, asked


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the app, wait for the agent's last event, stop."""
    app = faust.App(
        arguments.group, broker=f"kafka://{arguments.bootstrap}", store="memory://", web_enabled=False,
        topic_partitions=arguments.partitions, autodiscover=False, datadir=tempfile.mkdtemp(),
    )  # fmt: skip
    topic = app.topic(arguments.raw, value_type=bytes, value_serializer="json")
    spent = app.Table("tokens", default=int, partitions=arguments.partitions)
    models: dict[str, Any] = defaultdict(lambda: GaussianScorer(window_size=None, grace_period=100))  # type: ignore[no-untyped-call]  # River ships no types
    seen, watch, ended = 0, Stopwatch(), asyncio.Event()

    async def score(stream: Any) -> None:  # noqa: ANN401 - Faust's stream
        nonlocal seen
        async for event in stream:
            if seen == 0:
                watch.begin()
            key, value = event["key_id"], event["input_tokens"] + event["output_tokens"]
            spent[key] += value
            model = models[key]
            model.score_one(None, value)
            model.learn_one(None, value)
            seen += 1
            if seen == arguments.events:
                watch.end()
                ended.set()

    app.agent(topic)(score)
    await app.start()
    try:
        await ended.wait()
    finally:
        await app.stop()
    return watch.measured(arguments.events)


def main() -> None:
    parser = asked()
    parser.add_argument("--partitions", type=int, default=4)
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
