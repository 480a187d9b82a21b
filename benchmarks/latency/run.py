"""Latency under load: event → finding, and finding → the call at the provider, at parts of what one worker can do.

    python -m benchmarks.latency.run --capacity 60000 [--seconds 40]

Workers as docs/operations.md has them apart: one `ingest,score`, one `decide`, one `contain`; and once all in one
process. Apache Kafka, the generator in a process of its own. The provider is a webhook that notes when it is told to
stop a key.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.broker import PARTITIONS, running_broker
from benchmarks.latency.load import generate, wall_s
from benchmarks.latency.worker import worker, write_folder
from schemas.records import Finding
from service.local_server import LocalServer
from streams.kafka import create_topics
from streams.topics import Topic, Topics

APART: Final = ("ingest,score", "decide", "contain")
TOGETHER: Final = (",".join(APART),)
LOADS: Final = (0.25, 0.5, 0.8)
HALF: Final = (0.5,)
THIEVES_PER_S: Final = 4.0
WARM_S: Final = 5.0
"""The beginning of each load that does not count."""
_FIRST: Final = 0.05  # a load that only shows that all is there
_PATIENCE_S: Final = 60.0


class Provider:
    """A webhook that takes every step and notes when it was first told to, by key: its reference is the key's id."""

    def __init__(self) -> None:
        self.called_s: dict[str, float] = {}
        self.app = Starlette(routes=[Route("/", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> JSONResponse:
        message = orjson.loads(await request.body())
        if message["action"] == "snapshot":
            return JSONResponse({"pre_state": {"state": "active"}})
        if message["action"] == "apply":
            self.called_s.setdefault(message["ref"], wall_s())
        return JSONResponse({"state": "applied" if message["ref"] in self.called_s else "not_applied"})


class Findings:
    """When the finding of a limit was written, by key: the time that its producer gave the record, epoch seconds."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._bootstrap, self._topic, self._partitions = bootstrap, topic, partitions
        self.told: dict[str, float] = {}

    async def follow(self) -> None:
        """Until cancelled."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, fetch_max_wait_ms=500, fetch_min_bytes=1
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._topic, number) for number in range(self._partitions)])
            while True:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        finding = Finding.model_validate_json(record.value)
                        if finding.family == "policy":
                            self.told.setdefault(finding.key_id, record.timestamp / 1000)
        finally:
            await consumer.stop()


async def measure(
    bootstrap: str,
    capacity_per_s: float,
    seconds: float,
    *,
    loads: Sequence[float] = LOADS,
    layout: Sequence[str] = APART,
) -> list[dict[str, Any]]:
    """Each load in turn, on workers that have been at work before: one for each of the layout's roles."""
    thieves = int((seconds + WARM_S) * THIEVES_PER_S) + 1
    topics = Topics(f"latency{wall_s():.0f}.", PARTITIONS)
    await create_topics(bootstrap, topics.specs())
    provider, findings = Provider(), Findings(bootstrap, topics.name(Topic.FINDINGS), topics.count(Topic.FINDINGS))
    server = LocalServer(provider.app)
    hook = await server.start()
    measured = []
    with tempfile.TemporaryDirectory(prefix="keyfuse-latency-") as name:
        folder = Path(name)
        write_folder(folder, bootstrap=bootstrap, prefix=topics.prefix, hook=hook, thieves=thieves * (len(loads) + 1))
        following = asyncio.create_task(findings.follow())
        try:
            async with AsyncExitStack() as workers:
                for roles in layout:
                    await workers.enter_async_context(worker(folder, roles))
                for number, share in enumerate((_FIRST, *loads)):
                    per_s, lasting_s = share * capacity_per_s, seconds + WARM_S
                    sent = await generate(
                        bootstrap, topics.name(Topic.RAW), per_s=per_s, seconds=lasting_s, first=number * thieves,
                        thieves_per_s=THIEVES_PER_S,
                    )  # fmt: skip
                    thefts: dict[str, float] = sent.pop("thefts")
                    await _until_called(provider, thefts, folder)
                    counted = {k: at_s for k, at_s in thefts.items() if at_s > sent["began_s"] + WARM_S}
                    measured.append({"load": share, **sent, **figures(counted, findings.told, provider.called_s)})
        finally:
            following.cancel()
            await server.stop()
    return measured[1:]


async def _until_called(provider: Provider, thefts: Iterable[str], folder: Path) -> None:
    """RuntimeError with the worker's log where a theft was not cut: then no figure means anything."""
    waiting, until_s = set(thefts), time.monotonic() + _PATIENCE_S
    while waiting := waiting - set(provider.called_s):
        if time.monotonic() > until_s:
            raise RuntimeError(f"{len(waiting)} keys were not cut: {_logs(folder)}")
        await asyncio.sleep(0.1)  # of a call at the provider there is no event


def _logs(folder: Path) -> str:
    return "\n".join(log.read_text()[-3000:] for log in sorted(folder.glob("*.log")))


def figures(thefts: Mapping[str, float], told_s: Mapping[str, float], called_s: Mapping[str, float]) -> dict[str, Any]:
    """Milliseconds from when a theft was due, and from its finding; all times in seconds, by key."""
    return {
        "event_to_finding_ms": percentiles([told_s[key_id] - due_s for key_id, due_s in thefts.items()]),
        "finding_to_call_ms": percentiles([called_s[key_id] - told_s[key_id] for key_id in thefts]),
        "thefts": len(thefts),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Of so few thefts the 99.9th is the worst of them.

    >>> percentiles([0.01, 0.02, 0.03])
    {'p50': 20.0, 'p99': 29.8, 'p999': 30.0, 'max': 30.0}
    """
    at = np.percentile(seconds, [50, 99, 99.9, 100]) * 1000
    return dict(zip(("p50", "p99", "p999", "max"), (round(float(each), 1) for each in at), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=float, required=True, help="events/s that one worker scores at most")
    parser.add_argument("--seconds", type=float, default=40, help="of each load")
    asked = parser.parse_args()
    with running_broker() as broker:
        print(json.dumps(asyncio.run(measure(broker.bootstrap, asked.capacity, asked.seconds)), indent=2))


if __name__ == "__main__":
    main()
