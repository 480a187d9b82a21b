"""What is left at the end: read from the topics, the store, the services, as anybody could."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.chaos.ends import End, Outage
from benchmarks.chaos.rebalances import rebalances
from benchmarks.chaos.schedule import CHANNELS
from benchmarks.chaos.services import Effect
from benchmarks.chaos.told import Reasons, server_of
from benchmarks.chaos.traffic import KEYS, Total
from benchmarks.chaos.world import World
from schemas.audit_chain import Problem, problems
from schemas.records import Command, DeadLetter, Incident, Outcome
from storage.audit import beside_the_chain, heads, links
from storage.client import open_store
from storage.store import Store
from streams.archive import RECORD_TOPICS
from streams.topics import Topic
from tests.integration.faust_engine import read_all
from tests.integration.lives import core_of
from tests.integration.servers import Board
from tests.integration.spend import Spend, spend_of
from tests.integration.uses import T0_MS

GROUPS: Final[Mapping[str, Sequence[Topic]]] = {
    "ingest": (Topic.RAW,), "archive": (Topic.FRAMES,), "archive-records": RECORD_TOPICS, "score": (Topic.FRAMES,),
    "uses": (Topic.FRAMES,), "budget": (Topic.SPEND,), "lender": (Topic.LEASE_ASKS,),
    "decide": (Topic.FINDINGS, Topic.OUTCOMES, Topic.REQUESTS), "identity": (Topic.KEY_ASKS,),
    "identity-outcomes": (Topic.OUTCOMES,), "notify": (Topic.INCIDENTS,), "questions": (Topic.QUESTIONS,),
    "contain": (Topic.COMMANDS,),
}  # fmt: skip

Place = tuple[str, str, int]
"""Group, topic, partition."""


@dataclass(frozen=True)
class Collected:
    """Everything that the invariants are judged by."""

    raw: Mapping[tuple[int, int], bytes]  # partition and offset → the record
    lag: Mapping[Place, int]  # where something is left unread
    stored: tuple[int, int]  # rows, and rows of different events
    minutes: Mapping[tuple[str, int], Total]
    hours: Mapping[str, Total]
    windows: Mapping[str, Mapping[str, float]]
    clock_s: int
    spend: Spend
    dead_told: Sequence[DeadLetter]
    dead_stored: Sequence[DeadLetter]
    incidents: Mapping[str, Incident]  # the newest version of each
    commands: Mapping[tuple[str, int], Command]  # by id and when it was ordered: a crash tells it again
    outcomes: Mapping[str, Sequence[Outcome]]  # by command
    effects: Sequence[Effect]
    board: Board
    audit_rows: int
    audit_problems: Sequence[Problem]
    ends: Sequence[End]  # of every process
    outages: Sequence[Outage]
    reasons: Reasons
    rebalances: Counter[int]  # by how many workers then shared the partitions


async def lag(world: World) -> dict[Place, int]:
    """What is not committed yet, by group, topic and partition."""
    topics, found = world.one.topics, dict[Place, int]()
    admin = AIOKafkaAdminClient(bootstrap_servers=world.broker.bootstrap)
    reader = AIOKafkaConsumer(bootstrap_servers=world.broker.bootstrap)
    try:
        await admin.start()
        await reader.start()
        for group, names in GROUPS.items():
            tps = {
                TopicPartition(topics.name(topic), partition): topic
                for topic in names
                for partition in range(topics.count(topic))
            }
            reached = await admin.list_consumer_group_offsets(f"{topics.prefix}keyfuse-{group}", partitions=[*tps])
            for tp, end in (await reader.end_offsets([*tps])).items():
                left = end - max(0, reached[tp].offset if tp in reached else 0)
                if left:
                    found[group, tps[tp].value, tp.partition] = left
    finally:
        await reader.stop()
        await admin.close()
    return found


async def collect(world: World, left: Mapping[Place, int], clock_s: int) -> Collected:
    """After the workers are gone; `left` was asked while they were still there."""
    store = await asyncio.to_thread(open_store, world.true_dsn)
    raw = {
        (partition, offset): value or b""
        for partition in range(world.one.topics.partitions)
        for offset, (_, value) in enumerate(await _all(world, Topic.RAW, partition))
    }
    outcomes: dict[str, list[Outcome]] = {}
    for value in await _values(world, Topic.OUTCOMES):
        outcome = Outcome.from_bytes(value)
        outcomes.setdefault(outcome.command_id, []).append(outcome)
    incidents: dict[str, Incident] = {}
    for value in await _values(world, Topic.INCIDENTS):
        version = Incident.from_bytes(value)
        known = incidents.get(version.incident_id)
        if known is None or version.seq >= known.seq:
            incidents[version.incident_id] = version
    commands = [Command.from_bytes(v) for v in await _values(world, Topic.COMMANDS) if b'"type":"command"' in v]
    cores = [await core_of(world.one, partition) for partition in range(world.one.topics.partitions)]
    for core in cores:
        core.advance(clock_s)
    chain = list(links(store))
    return Collected(
        raw=raw, lag=left, stored=_counted(store), minutes=_minutes(store), hours=_hours(store),
        windows={key: found for key in KEYS for core in cores if (found := core.windows(key)) is not None},
        clock_s=clock_s, spend=await spend_of(world.one, T0_MS),
        dead_told=[DeadLetter.from_bytes(value) for value in await _values(world, Topic.DEAD)],
        dead_stored=store.dead_letters(100_000), incidents=incidents,
        commands={(command.command_id, command.at_ms): command for command in commands}, outcomes=outcomes,
        effects=world.services.provider.effects, board=world.services.board, audit_rows=len(chain),
        audit_problems=[*problems(chain, heads=heads(store)), *beside_the_chain(store)],
        ends=tuple(world.workers.ends), outages=tuple(world.outages), reasons=_reasons(world),
        rebalances=rebalances(
            world.broker.log_path.read_text(errors="replace"), f"{world.one.topics.prefix}keyfuse-score"
        ),
    )  # fmt: skip


def _reasons(world: World) -> Reasons:
    board = world.services.board
    lost = {name: server_of(board, name).lost_s for name in CHANNELS}
    broker = [at_s for gone in world.outages if gone.what.startswith("broker") for at_s in (gone.began_s, gone.ended_s)]
    return Reasons(lost, [*world.workers.moments_s, *broker])


def _counted(store: Store) -> tuple[int, int]:
    [(rows, events)] = store.connection.rows("SELECT count(), uniqExact(key_id, event_id) FROM usage_events FINAL")
    return int(rows), int(events)


def _minutes(store: Store) -> dict[tuple[str, int], Total]:
    rows = store.connection.rows(
        "SELECT key_id, toUnixTimestamp(at) * 1000, sum(events), sum(input_tokens) + sum(output_tokens),"
        " sum(cost_nano_usd) FROM usage_minute GROUP BY key_id, at"
    )
    return {(key, int(at)): Total(int(events), int(tokens), int(cost)) for key, at, events, tokens, cost in rows}


def _hours(store: Store) -> dict[str, Total]:
    rows = store.connection.rows(
        "SELECT key_id, sum(events), sum(input_tokens) + sum(output_tokens), sum(cost_nano_usd) FROM usage_hour"
        " GROUP BY key_id"
    )
    return {key: Total(int(events), int(tokens), int(cost)) for key, events, tokens, cost in rows}


async def _values(world: World, topic: Topic) -> list[bytes]:
    found: list[bytes] = []
    for partition in range(world.one.topics.count(topic)):
        found += [value or b"" for _, value in await _all(world, topic, partition)]
    return found


async def _all(world: World, topic: Topic, partition: int) -> list[tuple[Any, Any]]:
    return await read_all(world.broker.bootstrap, world.one.topics.name(topic), partition)
