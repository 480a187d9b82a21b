"""Each stage that usage goes through put together: its pure parts from the install, its edges from the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from controls.budgets import Budgets
from controls.census import Census
from service.cores import new_core
from service.edges import Edges
from storage.store import Store
from streams.acks import Arrived
from streams.archive import RECORD_TOPICS, ArchiveDeps, RecordArchive, UsageArchive
from streams.budget_stage import BudgetStage
from streams.census import CensusTaker
from streams.changelog import Changelog
from streams.faust_apps import StageApp
from streams.ingest import IngestLoop
from streams.kafka import consumer
from streams.score import ScoreStage
from streams.shadow import Shadow
from streams.spend_core import SpendCore
from streams.topics import StateTopic, Topic
from streams.uses import UsesStage


async def ingest(edges: Edges) -> IngestLoop:
    """Its consumer is started; the caller runs the loop and stops both."""
    install, topics = edges.install, edges.install.topics
    reader = consumer(edges.bootstrap, None, edges.group("ingest"), timing=edges.timing)
    await reader.start()
    return IngestLoop(
        reader, edges.producer, install.parser(max_future_s=install.folder.detectors.time.max_future_s), topics,
        metrics=edges.metrics, now_ms=edges.now_ms, now_s=time.monotonic,
        progress=edges.health.stage("ingest", time.monotonic()),
        stop_ratio=install.folder.wiring.dead_letter_stop_ratio,
    )  # fmt: skip


def _archive_deps(edges: Edges, store: Callable[[], Store], group: str) -> ArchiveDeps:
    return ArchiveDeps(
        bootstrap=edges.bootstrap, group=group, store=store, outbox=edges.outbox, metrics=edges.metrics,
        progress=edges.health.stage("archive", time.monotonic()), now_s=time.monotonic, now_ms=edges.now_ms,
        sleep=asyncio.sleep,
    )  # fmt: skip


async def usage_archive(edges: Edges, store: Callable[[], Store]) -> UsageArchive:
    """Frames → usage_events."""
    name, group = edges.install.topics.name(Topic.FRAMES), edges.group("archive")
    reader = consumer(edges.bootstrap, None, group, timing=edges.timing, max_records=64)
    await reader.start()
    return UsageArchive(reader, name, _archive_deps(edges, store, group))


async def record_archive(edges: Edges, store: Callable[[], Store]) -> RecordArchive:
    """Findings, incidents and the rest → their tables."""
    names = {edges.install.topics.name(topic): topic for topic in RECORD_TOPICS}
    group = edges.group("archive-records")
    reader = consumer(edges.bootstrap, list(names), group, timing=edges.timing)
    await reader.start()
    deps = replace(
        _archive_deps(edges, store, group),
        sealing=edges.install.sealing(),
        order_keys=edges.install.order_keys(),
        registry=lambda: edges.install.registry,
        stale_days=lambda: edges.install.folder.keys.issuing.stale_days,
    )
    return RecordArchive(reader, names, deps)


def score(edges: Edges) -> tuple[StageApp, ScoreStage]:
    """Frames → findings."""
    install, changelog = edges.install, edges.changelog(StateTopic.SCORE)
    progress = edges.health.stage("score", time.monotonic())
    stage = ScoreStage(
        new_core=partial(new_core, install), store=changelog, outbox=edges.outbox, topics=install.topics,
        metrics=edges.metrics, progress=progress, settings=install.folder.wiring.state,
        shadow=Shadow(
            settings=lambda: install.folder.shadow, new_core=partial(new_core, install), outbox=edges.outbox,
            metrics=edges.metrics,
        ),
    )  # fmt: skip

    async def handle(frame: Arrived) -> None:
        began_s = time.monotonic()
        await stage.on_frame(frame, now_s=began_s, now_ms=edges.now_ms())
        stage.was_busy(time.monotonic() - began_s)
        await asyncio.sleep(0)  # frames that are there come in a row, and in each a second may end: others want a turn

    async def tick() -> None:
        await stage.tick(now_s=time.monotonic(), now_ms=edges.now_ms())

    app = StageApp(
        edges.group("score"), [install.topics.name(Topic.FRAMES)], handle, stage.drop, changelog=changelog,
        claims=True, tick=tick, tick_s=0.5
    )  # fmt: skip
    return app, stage


def census(edges: Edges, changelog: Changelog) -> CensusTaker:
    """Who is in use, and how, against what is registered."""
    install = edges.install
    counted = Census(
        entry=lambda key_id: install.registry.entry(key_id),  # noqa: PLW0108 - another registry after a reload
        registered=lambda: len(install.registry.entries()) if install.folder.keys.census.unknown_keys else 0,
    )
    return CensusTaker(counted, store=changelog, outbox=edges.outbox, metrics=edges.metrics)


def uses(edges: Edges) -> tuple[StageApp, UsesStage]:
    """Frames → sums of spend, and each frame to the census."""
    install, changelog = edges.install, edges.changelog(StateTopic.USES)
    state, dedup_s = install.folder.wiring.state, install.folder.detectors.time.dedup_s
    counted = census(edges, changelog)
    stage = UsesStage(
        new_core=lambda: SpendCore(shards=state.shards, dedup_s=dedup_s), store=changelog, outbox=edges.outbox,
        metrics=edges.metrics, progress=edges.health.stage("uses", time.monotonic()), settings=state,
        observers=[counted],
    )  # fmt: skip

    async def handle(frame: Arrived) -> None:
        await stage.on_frame(frame, now_s=time.monotonic())

    async def tick() -> None:
        await stage.tick(now_s=time.monotonic(), now_ms=edges.now_ms())

    app = StageApp(
        edges.group("uses"), [install.topics.name(Topic.FRAMES)], handle, stage.drop, changelog=changelog,
        claims=True, restored=counted.restored, tick=tick, tick_s=0.5
    )  # fmt: skip
    return app, stage


def budget(edges: Edges) -> tuple[StageApp, BudgetStage]:
    """Sums of spend → where each budget stands."""
    install, changelog = edges.install, edges.changelog(StateTopic.BUDGET)
    stage = BudgetStage(
        settings=lambda: (Budgets(install.folder.budgets, install.registry.entries().values()), install.facts_of),
        exceptions=lambda: install.exceptions, store=changelog, outbox=edges.outbox, topics=install.topics,
        metrics=edges.metrics, progress=edges.health.stage("budget", time.monotonic()),
        save_every_s=install.folder.wiring.state.rotation_s,
    )  # fmt: skip

    async def handle(record: Arrived) -> None:
        await stage.on_record(record, now_ms=edges.now_ms())

    async def tick() -> None:
        await stage.tick(now_s=time.monotonic(), now_ms=edges.now_ms())

    app = StageApp(
        edges.group("budget"), [install.topics.name(Topic.SPEND)], handle, stage.drop, changelog=changelog,
        claims=True, restored=stage.restored, tick=tick
    )  # fmt: skip
    return app, stage
