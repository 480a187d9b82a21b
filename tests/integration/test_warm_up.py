"""A new install that was warmed up knows normal in its first minute."""

from __future__ import annotations

import asyncio
import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from detectors.core import ScoreCore
from schemas.partition import partition_of
from schemas.records import Finding
from service.errors import UserError
from service.history import Wanted, open_history
from service.install import Install
from service.warm_up_command import warm_up
from tests.brokers import Broker
from tests.integration.servers import board
from tests.integration.uses import T0_MS, Event, ndjson, use, uses
from tests.integration.world import World, install, running, until

KEYS = [f"key_known_{number}" for number in range(8)]
STOLEN, ORDINARY = KEYS[2], KEYS[5]
HOURS = 30


def history() -> list[Event]:
    """Each key in six of ten 10-minute blocks, with a few cheap requests, until T0."""
    rng = random.Random(7)
    events = []
    for key in KEYS:
        for block in range(-HOURS * 6, 0):
            if rng.random() < 0.6:
                events += ordinary(key, T0_MS + block * 600_000 + rng.randrange(400_000), rng=rng)
    return sorted(events, key=lambda event: int(event["ts"]))


def ordinary(key: str, start_ms: int, *, rng: random.Random) -> list[Event]:
    return uses(key, start_ms, count=rng.randint(3, 9), every_ms=rng.randint(800, 6000), cost_usd=0.002)


def burst(key: str, start_ms: int) -> list[Event]:
    """Below every certain limit, from the key's own host with its own model: only its own past speaks against it."""
    return uses(key, start_ms, count=600, every_ms=83, cost_usd=0.002)


def warmed(one: Install, file: Path, *, replace: bool = False) -> str:
    said = io.StringIO()
    console = Console(file=said, width=200)
    now_ms = T0_MS + 60_000
    warm_up(one, Wanted((str(file),)), replace=replace, now_ms=now_ms, out=console, err=Console(file=io.StringIO()))
    return said.getvalue()


def refusal(one: Install, file: Path) -> bool:
    """Whether it is refused for what is there; while the worker leaves its group, it is refused for that."""
    with pytest.raises(UserError) as refused:
        warmed(one, file)
    return "holds what the workers have learned; `--replace`" in str(refused.value)


def velocity(world: World, key_id: str) -> list[Finding]:
    told: list[Finding] = world.told(Finding, key_id)
    return sorted((each for each in told if each.family == "velocity"), key=lambda each: each.at_ms)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "history.jsonl"
    path.write_bytes(ndjson(history()))
    return path


async def test_after_a_warm_up_a_burst_is_found_at_once_and_ordinary_use_is_not(
    broker: Broker, prefix: str, tmp_path: Path, file: Path
) -> None:
    async with board() as services:
        one = install(broker, prefix, tmp_path, services=services, sandbox_url="http://127.0.0.1:1")
    said = await asyncio.to_thread(warmed, one, file)
    assert "8 keys" in said
    assert "prod/sandbox: 8 keys" in said

    async with running(broker, prefix, tmp_path, roles=("ingest", "score")) as world:
        rng = random.Random(1)
        live = burst(STOLEN, T0_MS + 5000) + ordinary(ORDINARY, T0_MS + 6000, rng=rng)
        last = [use(f"last-{key}", key, T0_MS + 120_000) for key in KEYS]
        live.sort(key=lambda event: int(event["ts"]))
        await world.produce(*[ndjson(live[start : start + 20]) for start in range(0, len(live), 20)], key="all")
        await world.produce(ndjson(last), key="all")

        await until(lambda: velocity(world, STOLEN), "the burst is found")
        await until(lambda: world.windows(ORDINARY)[1] > T0_MS // 1000 + 60, "the ordinary key was judged")
        first = velocity(world, STOLEN)[0]
        assert first.at_ms < T0_MS + 60_000
        assert "its usual peak is" in first.reason
        assert world.told(Finding, ORDINARY) == []
        scored = world.worker.score
        assert sum(core.known_keys for core in scored.cores()) == len(KEYS)

    await until(lambda: asyncio.to_thread(refusal, one, file), "the worker has left its group")
    assert "8 keys" in await asyncio.to_thread(warmed, one, file, replace=True)


@pytest.mark.kafka
async def test_nothing_is_written_over_while_a_worker_scores(
    kafka_broker: Broker, prefix: str, tmp_path: Path, file: Path
) -> None:
    async with running(kafka_broker, prefix, tmp_path, roles=("score",)) as world:
        with pytest.raises(UserError, match="stop the score workers first"):
            await asyncio.to_thread(warmed, world.worker.install, file, replace=True)


def test_without_a_warm_up_the_same_burst_is_not_known_from_a_busy_new_key(tmp_path: Path) -> None:
    """Otherwise the first test would prove nothing."""
    path = tmp_path / "live.jsonl"
    path.write_bytes(ndjson([*burst(STOLEN, T0_MS + 5000), use("last", STOLEN, T0_MS + 120_000)]))
    core = ScoreCore(Install.open(tmp_path / "none").folder.detectors, partition=partition_of(STOLEN, 1))
    with open_history(Install.open(tmp_path / "none"), (str(path),), from_ms=None, until_ms=None) as played:
        told = [finding for frame in played.frames() for finding in core.process(frame)]

    assert [finding for finding in told if finding.at_ms < T0_MS + 60_000] == []
