"""Latency under load: event → finding, and finding → the call at the provider, at parts of what one worker can do.

    python -m benchmarks.latency.run --capacity 60000 [--seconds 40]
    python -m benchmarks.latency.run --offer 130000 [--seconds 40]

With `--offer` what they can do is measured first: as many events/s are sent as a worker scores that has the machine for
itself, and how far the findings come in each second is the pace of everything together, the generator and the broker on
the same cores too.

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
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
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
CAPACITY_S: Final = 30.0
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


@dataclass(frozen=True)
class Seen:
    """Of one load: what the generator says of it, and by key when each theft was due, told of and called (seconds)."""

    sent: dict[str, Any]
    due_s: dict[str, float]
    told_s: Mapping[str, float]
    called_s: Mapping[str, float]


class Bench:
    """Workers at work, and who watches them."""

    def __init__(self, bootstrap: str, topics: Topics, folder: Path, provider: Provider, findings: Findings) -> None:
        self._bootstrap, self._topics, self._folder = bootstrap, topics, folder
        self._provider, self._findings = provider, findings
        self._thieves = 0

    async def load(self, per_s: float, seconds: float) -> Seen:
        """Sends so many events/s, and waits until every theft among them is cut."""
        sent = await generate(
            self._bootstrap, self._topics.name(Topic.RAW), per_s=per_s, seconds=seconds, first=self._thieves,
            thieves_per_s=THIEVES_PER_S,
        )  # fmt: skip
        self._thieves += _thieves(seconds)
        thefts: dict[str, float] = sent.pop("thefts")
        await _until_called(self._provider, thefts, self._folder)
        return Seen(sent, thefts, self._findings.told, self._provider.called_s)


def _thieves(seconds: float) -> int:
    return int(seconds * THIEVES_PER_S) + 1


@asynccontextmanager
async def bench(bootstrap: str, layout: Sequence[str], lasting_s: Sequence[float]) -> AsyncIterator[Bench]:
    """One worker for each of the layout's roles, on topics of their own; `lasting_s` are the loads that will come."""
    topics = Topics(f"latency{wall_s():.0f}.", PARTITIONS)
    await create_topics(bootstrap, topics.specs())
    provider, findings = Provider(), Findings(bootstrap, topics.name(Topic.FINDINGS), topics.count(Topic.FINDINGS))
    server = LocalServer(provider.app)
    hook = await server.start()
    with tempfile.TemporaryDirectory(prefix="keyfuse-latency-") as name:
        folder = Path(name)
        thieves = sum(map(_thieves, lasting_s))
        write_folder(folder, bootstrap=bootstrap, prefix=topics.prefix, hook=hook, thieves=thieves)
        following = asyncio.create_task(findings.follow())
        try:
            async with AsyncExitStack() as workers:
                for roles in layout:
                    await workers.enter_async_context(worker(folder, roles))
                yield Bench(bootstrap, topics, folder, provider, findings)
        finally:
            following.cancel()
            await server.stop()


async def capacity(bootstrap: str, offered_per_s: float, seconds: float) -> float:
    """Events/s that are scored of what the generator sends, all of it at most."""
    async with bench(bootstrap, APART, (seconds, seconds)) as at_work:
        await at_work.load(_FIRST * offered_per_s, seconds)
        seen = await at_work.load(offered_per_s, seconds)
    began_s, until_s = seen.sent["began_s"], seen.sent["began_s"] + seen.sent["sent"] / seen.sent["per_s"]
    meanwhile = {key_id: at_s for key_id, at_s in seen.told_s.items() if at_s < until_s}
    due_s = {key_id: at_s for key_id, at_s in seen.due_s.items() if at_s > began_s + WARM_S}
    return min(offered_per_s, pace(offered_per_s, due_s, meanwhile))


def pace(per_s: float, due_s: Mapping[str, float], told_s: Mapping[str, float]) -> float:
    """Events/s that are scored of the `per_s` that are due: how far into those the findings come in each second, by
    the straight line nearest to them.

    >>> round(pace(1000, {"a": 0, "b": 6, "c": 12, "later": 15}, {"a": 1, "b": 11, "c": 21}))
    600
    """
    told = [key_id for key_id in due_s if key_id in told_s]
    line = np.polyfit([told_s[key_id] for key_id in told], [due_s[key_id] for key_id in told], 1)
    return per_s * float(line[0])


async def measure(
    bootstrap: str,
    capacity_per_s: float,
    seconds: float,
    *,
    loads: Sequence[float] = LOADS,
    layout: Sequence[str] = APART,
) -> list[dict[str, Any]]:
    """Each load in turn, on workers that have been at work before: one for each of the layout's roles."""
    lasting_s = seconds + WARM_S
    measured = []
    async with bench(bootstrap, layout, [lasting_s] * (len(loads) + 1)) as at_work:
        await at_work.load(_FIRST * capacity_per_s, lasting_s)
        for share in loads:
            seen = await at_work.load(share * capacity_per_s, lasting_s)
            counted = {k: at_s for k, at_s in seen.due_s.items() if at_s > seen.sent["began_s"] + WARM_S}
            measured.append({"load": share, **seen.sent, **figures(counted, seen.told_s, seen.called_s)})
    return measured


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
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument("--capacity", type=float, help="events/s that are scored at most")
    known.add_argument("--offer", type=float, help="events/s of which the capacity is measured first")
    parser.add_argument("--seconds", type=float, default=40, help="of each load")
    asked = parser.parse_args()
    with running_broker() as broker:
        capacity_per_s = asked.capacity or asyncio.run(capacity(broker.bootstrap, asked.offer, CAPACITY_S))
        loads = asyncio.run(measure(broker.bootstrap, capacity_per_s, asked.seconds))
        print(json.dumps({"capacity_per_s": round(capacity_per_s), "loads": loads}, indent=2))


if __name__ == "__main__":
    main()
