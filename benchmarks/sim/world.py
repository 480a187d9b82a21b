"""One history: traffic, two workers of each role, what befalls them, until all is calm and all is done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition
from structlog.testing import capture_logs

from benchmarks.sim import roles
from benchmarks.sim.broker import Broker, Group, Record
from benchmarks.sim.clickhouse import ClickHouse
from benchmarks.sim.frames_seen import FramesSeen
from benchmarks.sim.loop import HistoryLoop
from benchmarks.sim.luck import Luck
from benchmarks.sim.process import Process
from benchmarks.sim.remembered import MEMORY
from benchmarks.sim.score import Score
from benchmarks.sim.settings import RAW_PARTITIONS, SHARDS, TOPICS
from benchmarks.sim.traffic import Traffic, traffic
from schemas.config.wiring import StateConfig
from streams.topics import Topic

HISTORIES_EACH: Final = 100  # of the same traffic, in turn: what is pure in them is worked out once
_TROUBLE_S: Final = 20.0  # nothing goes wrong later than this
_PATIENCE_S: Final = 200.0
_ROLES: Final[dict[str, Callable[[World, Process], object]]] = {
    "ingest": roles.ingest, "archive": roles.archive, "score": Score,
}  # fmt: skip


class World:
    """Everything of one seed. `wrong` is what broke a promise while it went on."""

    def __init__(self, seed: int, *, records: int = 8, faults: int | None = None) -> None:
        self.seed = seed
        self.luck = Luck.of(seed, faults)
        self.rng = random.Random(seed + 1)
        number = seed // HISTORIES_EACH
        MEMORY.begin((number, records))
        self.sent: Traffic = traffic(random.Random(number), records)
        self.broker, self.tables = Broker(), ClickHouse()
        self.raw = [TopicPartition(TOPICS.name(Topic.RAW), number) for number in range(RAW_PARTITIONS)]
        self.frames = [TopicPartition(TOPICS.name(Topic.FRAMES), number) for number in range(TOPICS.partitions)]
        self.wrong: list[str] = []
        self.seen = FramesSeen(self)
        self.broker.appended = self._appended
        self.groups = {
            "ingest": Group(self.raw, self.rng, self.seen.check_ingest),
            "archive": Group(self.frames, self.rng, self.seen.check_archive),
            "score": Group(self.frames, self.rng, self.seen.check_score),
        }
        self.roles = self.rng.choice(
            [("ingest", "archive", "score"), *(2 * [("ingest", "archive"), ("ingest", "score")])]
        )
        if self.luck.menu == "zombies" and "score" in self.roles and self.rng.random() < 0.5:
            self.luck.take_aim("state")  # a sleeper does harm between reading state, claiming it and writing it
        self.state = StateConfig(shards=SHARDS, rotation_s=self.rng.choice([0.2, 1.0, 2.0]), idle_s=3600)
        self.gaps_s = self.rng.choice([(0.0, 0.0, 0.3, 1.5), (0.3, 1.5, 4.0)])
        self.stuck = False
        self.lives = 0

    def play(self) -> World:
        loop = HistoryLoop()
        loop.thread_s = lambda: self.rng.choice([0.0, 0.0, 0.0, 5.0]) if self.luck.left else 0.0
        try:
            with capture_logs():
                loop.run_until_complete(self._live())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
        self.wrong += loop.mistakes
        return self

    async def _live(self) -> None:
        rivals = [2] if self.luck.menu == "zombies" else [1, 1, 2]  # a zombie alone harms nobody
        slots = [(role, number) for role in self.roles for number in range(self.rng.choice(rivals))]
        keepers = [asyncio.create_task(self._keep(role, number)) for role, number in slots]
        for partition, value, _ in self.sent.records:
            self.broker.append(self.raw[partition], value)
            await asyncio.sleep(self.rng.choice(self.gaps_s))
        deadline_s = roles.now_s() + _PATIENCE_S
        while not self._done():
            if roles.now_s() > _TROUBLE_S:
                self.luck.calm()
            if roles.now_s() > deadline_s:
                self.stuck = True
                break
            await asyncio.sleep(1.0)
        for keeper in keepers:
            keeper.cancel()

    async def _keep(self, role: str, number: int) -> None:
        """One worker after another."""
        while True:
            self.lives += 1
            process = Process(f"{role} {number} life {self.lives}", self.luck)
            _ROLES[role](self, process)
            await process.ended.wait()
            process.end()
            await asyncio.sleep(self.rng.choice([0.1, 1.0, 4.0]))

    def events_before(self, partition: int, offset: int) -> list[tuple[int, int]]:
        """Offset and index of the events in the first records of a raw partition."""
        mine = [events for raw, _, events in self.sent.records if raw == partition]
        return [(at, index) for at, events in enumerate(mine[:offset]) for index in range(len(events))]

    def _done(self) -> bool:
        groups = [self.groups[role] for role in self.roles]
        return all(group.position(tp) >= self.broker.end(tp) for group in groups for tp in group.partitions)

    def _appended(self, record: Record) -> None:
        if record.topic == self.frames[0].topic:
            self.seen.add(record)
