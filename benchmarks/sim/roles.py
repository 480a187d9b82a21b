"""The ingest and the archive, each the stage itself around the clients in memory. Score is in `score.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from aiokafka import TopicPartition

from benchmarks.sim.broker import Committed, Group
from benchmarks.sim.clients import Consumer, Producer
from benchmarks.sim.process import Process
from benchmarks.sim.remembered import RememberedParser
from benchmarks.sim.settings import LIMITS, PARSER, TOPICS
from benchmarks.sim.store import StoreOf
from streams.archive import ArchiveDeps, UsageArchive
from streams.health import StageProgress
from streams.ingest import IngestLoop
from streams.metrics import Metrics
from streams.topics import Topic

if TYPE_CHECKING:
    from benchmarks.sim.world import World

METRICS: Final = Metrics()
T0_MS: Final = 1_795_428_000_000
RESTART_S: Final = 0.5


async def kept_running(run: Callable[[], Any]) -> None:
    """As the worker keeps its loops: what failed begins again, at its last commit."""
    while True:
        try:
            await run()
        except Exception:  # whatever it was; a history that never ends by it is told as stuck
            await asyncio.sleep(RESTART_S)
        else:
            return


def now_s() -> float:
    return asyncio.get_running_loop().time()


def now_ms() -> int:
    return T0_MS + int(now_s() * 1000)


def joined(process: Process, group: Group, member: Any) -> None:  # noqa: ANN401 - a Consumer or a Score
    """What becomes of its membership when it falls silent, wakes up, or others come and go."""
    process.expelled = lambda: group.leave(member)
    process.rejoin = lambda: group.join(member) if process.alive else None
    process.moved = group.rebalance


def ingest(world: World, process: Process) -> None:
    consumer = Consumer(process, world.broker, world.groups["ingest"])
    joined(process, world.groups["ingest"], consumer)
    parser = RememberedParser(PARSER)
    loop = IngestLoop(
        cast("Any", consumer), cast("Any", Producer(process, world.broker)), cast("Any", parser), TOPICS,
        metrics=METRICS, progress=StageProgress("ingest", 0), now_ms=now_ms, now_s=now_s, stop_ratio=1,
    )  # fmt: skip
    process.spawn(kept_running(loop.run))


def archive(world: World, process: Process) -> None:
    group = world.groups["archive"]
    consumer = Consumer(process, world.broker, group)
    joined(process, group, consumer)

    async def committed(_bootstrap: str, _group: str, tp: TopicPartition) -> tuple[int, str]:
        return await process.do("ask what is committed", lambda: group.committed.get(tp, Committed(0, "")))

    async def pause(seconds: float) -> None:
        await process.do("wait", lambda: None)
        await asyncio.sleep(seconds)

    store = StoreOf(world.tables, world.luck, process)
    deps = ArchiveDeps(
        bootstrap="", group="", store=lambda: cast("Any", store), outbox=cast("Any", None), metrics=METRICS,
        committed=committed, limits=LIMITS,
        progress=StageProgress("archive", 0), now_s=now_s, now_ms=now_ms, sleep=pause,
    )  # fmt: skip
    topic = TOPICS.name(Topic.FRAMES)
    loop = UsageArchive(cast("Any", consumer), topic, deps)
    process.spawn(kept_running(loop.run))
