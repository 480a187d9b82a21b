"""One run: feed and break at the same time, let it come to rest, and judge what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.chaos.collected import Collected, collect, lag
from benchmarks.chaos.feeder import Feeder
from benchmarks.chaos.harm import rows
from benchmarks.chaos.people import People
from benchmarks.chaos.schedule import CHANNELS, Fault, Size
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.world import World, world
from service.demo_watch import Watch
from streams.kafka import create_topics
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.uses import T0_MS
from tests.integration.world import until

_QUIET_LOOKS: Final = 3  # nothing is left to read so often in a row
_LOOK_EVERY_S: Final = 1.0
_START_S: Final = 300.0


@dataclass(frozen=True)
class Run:
    """What happened and what is left."""

    left: Collected
    happened: dict[str, object]


async def run(
    broker: Broker, directory: Path, seed: int, *, size: Size, faults: Sequence[Fault], traffic: Traffic,
    patience_s: float, say: Callable[[str], None],
) -> Run:  # fmt: skip
    """Everything, on this broker. `patience_s` is what it may take to come to rest."""
    async with world(broker, directory, seed) as one:
        await create_topics(broker.bootstrap, one.one.topics.specs())
        watch = Watch(broker.bootstrap, one.one.topics)
        await watch.start()
        one.workers.start(2)
        await until(lambda: len(one.workers.up()) == 2, "the workers are up", patience_s=_START_S)
        intakes = [f"http://127.0.0.1:{slot.port}" for slot in one.workers.slots]
        feeder = Feeder(broker.bootstrap, one.one.topics.name(Topic.RAW), intakes)
        people = People(one, watch)
        feeding = asyncio.create_task(feeder.feed(traffic))
        asking = asyncio.create_task(people.cut_and_give_back(seed, traffic.stolen, seconds=size.seconds))
        try:
            await _break(one, faults, size.seconds, say)
            say("the faults are over; it comes to rest")
            one.workers.scale(2)
            left = await _rest(one, [feeding, asking], patience_s, say)
            await one.workers.stop()
        finally:
            feeding.cancel()
            asking.cancel()
            await asyncio.gather(feeding, asking, return_exceptions=True)
            await watch.stop()
        clock_s = T0_MS // 1000 + round(traffic.end_s) + 10
        collected = await collect(one, left, clock_s)
        return Run(collected, _happened(one, collected, feeder, people, traffic))


async def _break(one: World, faults: Sequence[Fault], seconds: float, say: Callable[[str], None]) -> None:
    began_s = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as suffering:
        for fault in faults:
            await asyncio.sleep(max(0.0, began_s + fault.at_s - asyncio.get_running_loop().time()))
            say(str(fault))
            suffering.create_task(one.suffer(fault, began_s + seconds))


async def _rest(
    one: World, tasks: Sequence[asyncio.Task[None]], patience_s: float, say: Callable[[str], None]
) -> dict[tuple[str, str, int], int]:
    """Returns what is still left to read when the workers are up and nothing moves any more, or patience is over."""
    left: dict[tuple[str, str, int], int] = {("nobody", "asked", 0): 1}
    quiet = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await asyncio.gather(*tasks)
            say("everything is sent")
            while quiet < _QUIET_LOOKS:
                left = await lag(one)
                quiet = 0 if left or len(one.workers.up()) < one.workers.wanted else quiet + 1
                await asyncio.sleep(_LOOK_EVERY_S)
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            say(f"WRONG the harness itself: {task.exception()!r}")
    return left


def _happened(one: World, left: Collected, feeder: Feeder, people: People, traffic: Traffic) -> dict[str, object]:
    """What was done to it, in figures that are counted while it is done."""
    weather: Counter[str] = Counter()
    for name in CHANNELS:
        weather += one.services.weather(name).faults
    done = Counter({what: count for what, count in one.done.items() if what not in ("SIGKILL", "SIGTERM", "workers")})
    return {
        "events, records": f"{len(traffic.events):,} events in {len(traffic.records):,} records",
        **rows(left),
        "workers told to join or leave": one.workers.counts["asked to join or leave"],
        "SIGSTOP": done.pop("SIGSTOP", 0),
        "clocks set wrong or right": done.pop("clock", 0),
        "broker and store": _counts(Counter({what: n for what, n in done.items() if "fails" not in what})),
        "channels, calls that failed": _counts(weather),
        "provider, calls that failed": _counts(one.services.provider.weather.faults),
        "producers' tries": _counts(feeder.counts),
        "people asked": sum(len(asked) for asked in people.asked.values()),
    }


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(counted.items())) or "none"
