"""What must be true when a history is over, found from what was sent and from the frame log alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from aiokafka import TopicPartition

from benchmarks.sim.roles import METRICS
from benchmarks.sim.score import records_of
from benchmarks.sim.settings import KEYS, TOPICS, remembered_core
from benchmarks.sim.world import World
from detectors.core import ScoreCore
from schemas.frame import INDEX_BITS
from schemas.records import Finding
from streams.changelog import newest
from streams.health import StageProgress
from streams.score import ScoreStage
from streams.topics import StateTopic, Topic

_LATER_S = 5


def wrong_in(world: World) -> list[str]:
    """Nothing, or each promise that was broken."""
    if world.stuck:
        groups = {role: world.groups[role] for role in world.roles}
        behind = {
            role: [(group.position(tp), world.broker.end(tp)) for tp in group.partitions]
            for role, group in groups.items()
        }
        return [*world.wrong, f"it never ends: committed of all are {behind}"]
    scores = _scores(world) if "score" in world.roles else []
    archive = _archive(world) if "archive" in world.roles else []
    return [*world.wrong, *_frames(world), *scores, *archive]


def _frames(world: World) -> list[str]:
    sent = {
        (tp.partition, at << INDEX_BITS | index)
        for tp in world.raw for at, index in world.events_before(tp.partition, world.broker.end(tp))
    }  # fmt: skip
    found = []
    if world.seen.coords != sent:
        found.append(f"frames lack {sorted(sent - world.seen.coords)}, made up {sorted(world.seen.coords - sent)}")
    dead = len(world.broker.logs[TopicPartition(TOPICS.name(Topic.DEAD), 0)])
    broken = sum(not events for _, _, events in world.sent.records)
    if dead < broken:
        found.append(f"{broken} records are broken, {dead} dead letters tell of them")
    return found


def _scores(world: World) -> list[str]:
    """State and findings against a core that saw each row once, and both against what was sent."""
    found: list[str] = []
    expected: set[str] = set()
    counted: Counter[tuple[str, str]] = Counter()
    for tp in world.frames:
        plain, kept = remembered_core(tp.partition), restored(world, tp.partition)
        frame = world.seen.distinct(tp.partition)
        if frame is not None:
            expected |= {finding.finding_id for finding in plain.process(frame)}
        until_s = max(plain.clock_s, kept.clock_s) + _LATER_S
        for core in (plain, kept):
            core.advance(until_s)
        for key in KEYS:
            as_if, really = plain.windows(key), kept.windows(key)
            if as_if != really:
                found.append(f"windows of {key} after a restart are {really}, undisturbed {as_if}")
            counted["requests", key] += int((really or {}).get("requests_1h", 0))
            counted["milli-USD", key] += round((really or {}).get("usd_1h", 0) * 1000)
    sent: Counter[tuple[str, str]] = Counter()
    for event in world.sent.events.values():
        sent += Counter({("requests", event.key_id): 1, ("milli-USD", event.key_id): event.milli_usd})
    if +counted != sent:
        found.append(f"windows hold {dict(counted)}, sent were {dict(sent)}")
    told = _told(world)
    if told != expected:
        found.append(f"findings {len(told - expected)} too many, {len(expected - told)} never told, of {len(expected)}")
    return found


def _told(world: World) -> set[str]:
    logs = (
        world.broker.logs[TopicPartition(TOPICS.name(Topic.FINDINGS), number)] for number in range(TOPICS.partitions)
    )
    return {Finding.from_bytes(record.value).finding_id for log in logs for record in log}


def restored(world: World, partition: int) -> ScoreCore:
    """The state that the next owner begins with, and what it then reads."""
    log = world.broker.logs[TopicPartition(TOPICS.state_name(StateTopic.SCORE), partition)]
    values = newest(records_of(log))

    class Stored:
        get = staticmethod(values.get)

    stage = ScoreStage(
        new_core=remembered_core, store=cast("Any", Stored()), outbox=cast("Any", None), topics=TOPICS, metrics=METRICS,
        progress=StageProgress("score", 0), settings=world.state,
    )  # fmt: skip
    core = asyncio.run(stage._restore(partition, 0.0)).core
    for frame in world.seen.frames[partition][world.groups["score"].position(world.frames[partition]) :]:
        core.process(frame)
    return core


def _archive(world: World) -> list[str]:
    events = world.sent.events.values()
    found = []
    wanted = Counter({(event.key_id, event.ts_ms // 300_000, event.event_id): event.nano_usd for event in events})
    stored = {place: row.cost_nano_usd for place, row in world.tables.final().items()}
    if stored != wanted:
        missing, extra = wanted.keys() - stored.keys(), stored.keys() - wanted.keys()
        found.append(f"archive lacks {sorted(missing)}, has besides {sorted(extra)}")
    minutes = Counter((event.key_id, event.ts_ms // 60_000) for event in events)
    if world.tables.minutes != minutes:
        over, under = world.tables.minutes - minutes, minutes - world.tables.minutes
        found.append(f"minutes count {dict(over)} too much, {dict(under)} too little")
    if world.tables.hours != Counter((event.key_id, event.ts_ms // 3_600_000) for event in events):
        found.append("hours differ from what was sent")
    if world.tables.totals().cost_nano_usd != sum(event.nano_usd for event in events):
        found.append("the minutes' money differs from what was sent")
    return found
