"""A burst: twenty times what a worker takes, for two minutes. Nothing is lost, memory stays bounded, 429 and no death.

    python -m benchmarks.burst [--seconds 120] [--share 0.02]

At a worker's full pace that would be 130 GB of events. So the worker is held: of each 100 ms it may run for a small
share and is stopped for the rest (SIGSTOP, SIGCONT), and "what it takes" is what it takes so held. Two halves:

- Kafka: one worker with the roles `ingest,score,archive`. A backlog says how much it takes. It then sees as many events
  as it would take in a quarter of an hour, for it remembers events for so long to know them again, and that memory is
  not the burst's. Twenty times what it takes is sent open loop; the hold is taken away and it drains. Each event must
  be one row of the archive.
- HTTP: one worker with the role `http`, held as well, and with room for bodies in the same proportion: room is worth
  seconds of work. A few senders that wait for their answers say how much it takes; twenty times as many requests then
  come when they are due. Each is answered 202 or 429 and none is cut off; each event that was accepted is one row of
  the archive; and when the burst is over it accepts again.

What is broken of that is named, and the run fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from benchmarks.broker import PARTITIONS, running_broker
from benchmarks.burst_senders import request_id
from benchmarks.burst_verdicts import broken, compared
from benchmarks.burst_world import TOKEN, Archive, Memory, Place, cpu_s, held, place
from benchmarks.latency.load import generate, wall_s
from benchmarks.machine import first_in_line, machine
from benchmarks.soak import rss_bytes
from streams.kafka import create_topics
from streams.standstill import places_of
from streams.topics import Topic, Topics
from tests.integration.faust_engine import read_all
from tests.integration.world import until

RSS_BOUND_MB: Final = 500.0
"""A burst may take so much more memory than there was before it, in each process."""
_REMEMBERED_S: Final = 900.0
_FULL_PER_S: Final = 20_000.0
_PATIENCE_S: Final = 1800.0
_ROOM_BYTES: Final = 32_000_000  # as installed, of a worker that nobody holds
_ROLES: Final = "ingest,score,archive"
_GROUPS: Final = {"ingest": Topic.RAW, "score": Topic.FRAMES, "archive": Topic.FRAMES}


@dataclass(frozen=True)
class Sizes:
    """`share` of one processor for the worker of each half; the probes say what it takes so held."""

    seconds: float = 120.0
    times: float = 20.0
    share: float = 0.02
    probe_s: float = 25.0
    backlog: int = 100_000
    intake_share: float = 0.03
    events_in_request: int = 500
    senders: int = 4


class Run:
    """Both halves, on one install."""

    def __init__(self, where: Place, archive: Archive, sizes: Sizes) -> None:
        self._place, self._archive, self._sizes = where, archive, sizes
        self._topics = Topics(where.prefix, PARTITIONS)
        self._loads = self._sent = self._requests = 0

    async def kafka(self, pid: int) -> dict[str, Any]:
        """The burst into `usage.raw`, and its end."""
        sizes, fresh_mb = self._sizes, round(rss_bytes(pid) / 1e6, 1)
        await self._load(sizes.backlog, seconds=4)  # all has run once, at full pace
        await self._until_read()
        takes = await self._takes_per_s(pid)
        before = takes * _REMEMBERED_S * min(1.0, sizes.seconds / 120)
        await self._load(before, seconds=before / _FULL_PER_S)
        await self._until_read()
        memory, archived = Memory(pid), self._sent
        with held(pid, sizes.share):
            cpu_before_s, began_s = cpu_s(pid), time.monotonic()
            async with memory.watching():
                sent = await self._load(sizes.times * takes * sizes.seconds, seconds=sizes.seconds)
            lasted_s, used_s = time.monotonic() - began_s, cpu_s(pid) - cpu_before_s
            meanwhile = await self._archive.rows() - archived
        async with memory.watching():
            drained_s = await self._until_read()
        return {
            "takes_per_s": round(takes), "offered_per_s": round(sent["per_s"]), "sent": sent["sent"],
            "late_p99_ms": sent["late_ms"]["p99"], "lasted_s": round(lasted_s, 1),
            "of_a_core": round(used_s / lasted_s, 4), "archived_meanwhile": meanwhile,
            "drained_s": round(drained_s, 1), "rss_fresh_mb": fresh_mb, **memory.figures(), "sent_in_all": self._sent,
            "rows": await self._archive.rows(), "distinct": await self._archive.distinct(),
            "dead_letters": await self._dead_letters(), "begun_anew": self._place.begun_anew(_ROLES),
        }  # fmt: skip

    async def _takes_per_s(self, pid: int) -> float:
        """Events/s that it archives of a backlog, held, while there is more than it can take."""
        with held(pid, self._sizes.share):  # from the first record on: at full pace it would leave no backlog
            await self._load(self._sizes.backlog, seconds=self._sizes.backlog / _FULL_PER_S)
            before = await self._archive.rows()
            await until(self._more_than(before), "it archives", patience_s=_PATIENCE_S)
            first, began_s = await self._archive.rows(), time.monotonic()
            await asyncio.sleep(self._sizes.probe_s)
            last, took_s = await self._archive.rows(), time.monotonic() - began_s
        assert last < self._sent, "the backlog is too small to tell what it takes"
        await self._until_read()
        return (last - first) / took_s

    def _more_than(self, rows: int) -> Callable[[], Awaitable[bool]]:
        async def more() -> bool:
            return await self._archive.rows() > rows

        return more

    async def _load(self, events: float, *, seconds: float) -> dict[str, Any]:
        self._loads += 1
        with first_in_line():
            sent = await generate(
                self._place.bootstrap, self._topics.name(Topic.RAW), per_s=events / seconds, seconds=seconds,
                first=self._loads, thieves_per_s=0,
            )  # fmt: skip
        self._sent += sent["sent"]
        return sent

    async def _until_read(self) -> float:
        """Seconds until every stage has committed all that there is."""
        began_s = time.monotonic()
        await until(self._nothing_left, "all is read", patience_s=_PATIENCE_S, every_s=1)
        return time.monotonic() - began_s

    async def _nothing_left(self) -> bool:
        parts = range(self._topics.partitions)
        for group, topic in _GROUPS.items():
            tps = [TopicPartition(self._topics.name(topic), part) for part in parts]
            places = await places_of(self._place.bootstrap, f"{self._topics.prefix}keyfuse-{group}", tps)
            if any(place.committed < place.end for place in places.values()):
                return False
        return True

    async def _dead_letters(self) -> int:
        parts, name = range(self._topics.count(Topic.DEAD)), self._topics.name(Topic.DEAD)
        return sum([len(await read_all(self._place.bootstrap, name, part)) for part in parts])

    async def intake(self, pid: int) -> dict[str, Any]:
        """The burst of requests, and what was accepted of it."""
        sizes = self._sizes
        warm = await self._ask("--at-once", "1", seconds=2)
        with held(pid, sizes.intake_share):
            probe = await self._ask("--at-once", str(sizes.senders), seconds=sizes.probe_s)
            takes = len(probe["accepted"]) / sizes.probe_s
            memory, cpu_before_s, began_s = Memory(pid), cpu_s(pid), time.monotonic()
            async with memory.watching():
                burst = await self._ask("--per-s", str(sizes.times * takes), seconds=sizes.seconds)
                lasted_s = time.monotonic() - began_s
                used_s = cpu_s(pid) - cpu_before_s
                after = await self._ask("--at-once", "1", seconds=5)
        accepted = [number for each in (warm, probe, burst, after) for number in each["accepted"]]
        await self._until_read()
        rows = await self._archive.by_request("http-", len(request_id(0)))
        return {
            "takes_per_s": round(takes * sizes.events_in_request), "events_in_request": sizes.events_in_request,
            "offered_per_s": round(sizes.times * takes * sizes.events_in_request),
            "lasted_s": round(lasted_s, 1), "of_a_core": round(used_s / lasted_s, 4),
            **{name: value for name, value in burst.items() if name != "accepted"}, "probe": _short(probe),
            "after": _short(after), **memory.figures(), "distinct": await self._archive.distinct("http-"),
            **compared(accepted, rows, sizes.events_in_request),
        }  # fmt: skip

    async def _ask(self, *given: str, seconds: float) -> dict[str, Any]:
        """One run of the senders, in their own process."""
        with first_in_line():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.burst_senders", "--url", self._place.intake, "--token", TOKEN,
                "--events", str(self._sizes.events_in_request), "--first", str(self._requests),
                "--seconds", str(seconds), *given, stdout=asyncio.subprocess.PIPE, env=os.environ,
            )  # fmt: skip
        told, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError("the senders failed: their error stands above")
        found: dict[str, Any] = json.loads(told)
        self._requests += found["requests"]
        return found


def _short(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in ("statuses", "broken", "details")}


async def measure(bootstrap: str, sizes: Sizes) -> dict[str, Any]:
    """Both halves. RuntimeError, with the figures, where the promise is broken."""
    topics = Topics(f"burst{wall_s():.0f}.", PARTITIONS)
    await create_topics(bootstrap, topics.specs())
    room_bytes = round(_ROOM_BYTES * sizes.intake_share)
    with tempfile.TemporaryDirectory(prefix="keyfuse-burst-") as name:
        async with (
            place(bootstrap, topics.prefix, Path(name), room_bytes=room_bytes) as where,
            where.worker(_ROLES) as pid,
        ):
            archive = Archive(where.dsn)
            try:
                run = Run(where, archive, sizes)
                kafka = await run.kafka(pid)
                async with where.worker("http") as door:
                    intake = await run.intake(door)
            finally:
                archive.close()
    found = {"kafka": kafka, "intake": intake, "sizes": asdict(sizes), "rss_bound_mb": RSS_BOUND_MB}
    if wrong := broken(found):
        raise RuntimeError(f"{'; '.join(wrong)}: {json.dumps(found, indent=2)}")
    return found | {"machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    sizes = Sizes(**vars(parser.parse_args()))
    with running_broker() as broker:
        print(json.dumps(asyncio.run(measure(broker.bootstrap, sizes)), indent=2))


if __name__ == "__main__":
    main()
