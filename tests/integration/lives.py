"""One worker program on its own topics: fed with a stream, killed as told, and what is left of it at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from aiokafka import AIOKafkaProducer

from detectors.core import ScoreCore
from schemas.records import Finding, Incident
from service.config_tree import FILES
from service.cores import new_core
from service.install import Install
from storage.store import Store
from streams.kafka import create_topics
from streams.topics import StateTopic, Topic
from tests.integration.faust_engine import committed, read_all
from tests.integration.killed_worker import Progress, start_worker
from tests.integration.spend import Spend, spend_of
from tests.integration.stream import Stream
from tests.integration.uses import T0_MS
from tests.integration.world import until

PATIENCE_S: Final = 90.0
SPEED: Final = 60.0  # seconds of event time in a second, at most
AHEAD_S: Final = 20.0  # of event time that is sent beyond the worker's clock


class Kill(NamedTuple):
    """Kill the process once its clock is there (seconds after the stream's beginning) and it has scored something."""

    at_s: float


@dataclass
class Ending:
    """What is left when a worker is through with a stream."""

    cores: dict[int, ScoreCore]
    findings: dict[str, bytes]
    incidents: dict[str, tuple[str, str, str]]  # id → key, state and severity of the newest version
    archive: list[tuple[Any, ...]]
    minutes: list[tuple[Any, ...]]
    dead: int
    difference: int
    spend: Spend
    scored: int  # rows that the processes took up, replays among them
    processes: int

    def windows(self, key_id: str, clock_s: int) -> dict[str, float] | None:
        """As of one clock, so that two endings can be compared."""
        for core in self.cores.values():
            core.advance(clock_s)
            found = core.windows(key_id)
            if found is not None:
                return found
        return None


class Life:
    """The worker's processes, one after another, on one set of topics."""

    def __init__(self, one: Install, store: Store, directory: Path) -> None:
        self.one = one
        self.processes = 0
        self.scored = 0  # by the processes before
        self._now = Progress(0, 0)
        self._clock_s = 0.0  # the farthest so far, in seconds after the stream's beginning
        self._store = store
        self._directory = directory
        self._process: BaseProcess | None = None
        self._hears: Connection | None = None
        write_folder(one, directory)

    async def live(self, stream: Stream, kills: Sequence[Kill]) -> Ending:
        """Feed the stream and kill on the way; returns when the last process has stored everything and ended."""
        await create_topics(self.one.folder.wiring.kafka.bootstrap, self.one.topics.specs())
        self._start()
        feeding = asyncio.create_task(self._feed(stream, slowly=bool(kills)))
        try:
            for kill in kills:
                await until(partial(self._reached, kill), self.log, patience_s=PATIENCE_S)
                assert await self._end(signal.SIGKILL) == -signal.SIGKILL
                self._start()
            await asyncio.wait_for(feeding, PATIENCE_S)
            await self._until_through(stream)
            assert await self._end(signal.SIGTERM) == 0, self.log()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if self._process is not None and self._process.is_alive():
                await self._end(signal.SIGKILL)
        return await self._ending()

    def log(self) -> str:
        """The end of what the processes said."""
        return (self._directory / "worker.log").read_text(errors="replace")[-6000:]

    def _reached(self, kill: Kill) -> bool:
        self._must_live()
        return self._now.scored > 0 and self._now.clock_s - T0_MS / 1000 >= kill.at_s

    def _near(self, at_s: float) -> bool:
        return at_s <= self._clock_s + AHEAD_S

    def _must_live(self) -> None:
        assert self._process is not None
        assert self._process.is_alive(), f"the worker ended by itself: {self.log()}"

    def _hear(self, hears: Connection) -> None:
        """Take in what the process has said."""
        try:
            while hears.poll():
                self._now = hears.recv()
        except (EOFError, ConnectionResetError):
            asyncio.get_running_loop().remove_reader(hears.fileno())
        self._clock_s = max(self._clock_s, self._now.clock_s - T0_MS / 1000)

    async def _feed(self, stream: Stream, *, slowly: bool) -> None:
        """All at once, or at a steady pace and never far ahead of the worker, so that there are checkpoints between."""
        bootstrap, topic = self.one.folder.wiring.kafka.bootstrap, self.one.topics.name(Topic.RAW)
        pace_s = 0.0
        async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2) as sender:
            acks = []
            for record in stream.records:
                if slowly:
                    await until(partial(self._near, record.at_s), self.log, patience_s=PATIENCE_S)
                if slowly and record.at_s > pace_s + 1:
                    await asyncio.sleep((record.at_s - pace_s) / SPEED)
                    pace_s = record.at_s
                acks.append(await sender.send(topic, record.value, partition=record.partition))
            await asyncio.gather(*acks)

    def _start(self) -> None:
        self._process, self._hears = start_worker(self._directory, self._directory / "worker.log")
        self.processes += 1
        self._now = Progress(0, 0)
        asyncio.get_running_loop().add_reader(self._hears.fileno(), self._hear, self._hears)

    async def _end(self, sign: signal.Signals) -> int | None:
        """Send the signal; returns the exit status when the process is gone."""
        process, hears = self._process, self._hears
        assert process is not None
        assert process.pid is not None
        assert hears is not None
        if process.is_alive():
            os.kill(process.pid, sign)
        await asyncio.to_thread(process.join, PATIENCE_S)
        self._hear(hears)
        asyncio.get_running_loop().remove_reader(hears.fileno())
        hears.close()
        self.scored += self._now.scored
        return process.exitcode

    async def _until_through(self, stream: Stream) -> None:
        """The archive holds everything, the bad records too, and the state covers every frame."""
        bootstrap, topics = self.one.folder.wiring.kafka.bootstrap, self.one.topics

        async def archived() -> bool:
            self._must_live()
            totals = await asyncio.to_thread(self._store.rollup_vs_raw)
            return totals.raw_events == len(stream.events) and self._dead() >= stream.bad

        wanted = f"{len(stream.events)} events and {stream.bad} bad records in the archive"
        await until(archived, lambda: f"{wanted}: {self.log()}", patience_s=PATIENCE_S)
        frames, group = topics.name(Topic.FRAMES), f"{topics.prefix}keyfuse-score"
        ends = {p: len(await read_all(bootstrap, frames, p)) for p in range(topics.partitions)}

        async def covered() -> bool:
            return await committed(bootstrap, group, frames, partitions=topics.partitions) == ends

        await until(covered, lambda: f"the state covers the frames up to {ends}: {self.log()}", patience_s=PATIENCE_S)

        async def counted() -> bool:
            await asyncio.sleep(0.2)  # the state is read as a whole
            nano_usd = sum(spent for _, spent in (await spend_of(self.one, T0_MS)).values())
            return nano_usd == round(stream.usd * 10**9)

        await until(counted, lambda: f"budgets know of ${stream.usd}: {self.log()}", patience_s=PATIENCE_S)

    async def _ending(self) -> Ending:
        findings = {found.finding_id: found.to_bytes() for found in await self._all(Topic.FINDINGS, Finding)}
        incidents: dict[str, Incident] = {}
        for version in await self._all(Topic.INCIDENTS, Incident):
            known = incidents.get(version.incident_id)
            if known is None or version.seq > known.seq:
                incidents[version.incident_id] = version
        rows = self._store.connection.rows
        return Ending(
            cores={p: await core_of(self.one, p) for p in range(self.one.topics.partitions)},
            findings=findings,
            incidents={i: (one.key_id, one.state, one.severity) for i, one in incidents.items()},
            archive=rows(
                "SELECT key_id, count(), uniqExact(event_id), sum(input_tokens), sum(output_tokens),"
                " sum(cost_nano_usd) FROM usage_events FINAL GROUP BY key_id ORDER BY key_id"
            ),
            minutes=rows(
                "SELECT key_id, at, sum(events), sum(requests), sum(input_tokens), sum(cost_nano_usd)"
                " FROM usage_minute GROUP BY key_id, at ORDER BY key_id, at"
            ),
            dead=self._dead(),
            difference=self._store.rollup_vs_raw().difference,
            spend=await spend_of(self.one, T0_MS),
            scored=self.scored,
            processes=self.processes,
        )

    def _dead(self) -> int:
        """Bad records in the archive."""
        found: int = self._store.connection.rows("SELECT count() FROM dead_letters FINAL")[0][0]
        return found

    async def _all(self, topic: Topic, kind: type[Any]) -> list[Any]:
        """Every record of a topic, partition by partition."""
        bootstrap, topics = self.one.folder.wiring.kafka.bootstrap, self.one.topics
        found = [await read_all(bootstrap, topics.name(topic), p) for p in range(topics.count(topic))]
        return [kind.from_bytes(value) for records in found for _, value in records]


async def core_of(one: Install, partition: int) -> ScoreCore:
    """The state as the next owner of the partition would find it."""
    name = one.topics.state_name(StateTopic.SCORE)
    values = {key: value or b"" for key, value in await read_all(one.folder.wiring.kafka.bootstrap, name, partition)}
    core = new_core(one, partition)
    core.import_cohorts(values[f"{partition}:cohorts".encode()])
    for shard in range(one.folder.wiring.state.shards):
        data = values.get(f"{partition}:{shard}".encode())
        if data is not None:
            core.import_shard(shard, data)
    return core


def write_folder(one: Install, directory: Path) -> None:
    """The install's configuration as the files that a program reads."""
    for file in FILES:
        part = getattr(one.folder, file.part).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        (directory / file.name).write_text(yaml.safe_dump(part))
