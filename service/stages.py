"""Each stage put together: its pure parts from the install, its edges from the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from alerting.channels.base import Asking, Channel
from containment.orders import sign
from containment.providers.base import Provider, StepsOf
from containment.switches.base import Switch
from controls.budgets import Budgets
from controls.census import Census
from schemas.minting import MintOrder
from schemas.signing import Signer
from service.adapters import minter_of
from service.backups import backup_of, users_of
from service.cores import new_core
from service.identity_desks import desks_of
from service.install import Install, wall_ms
from storage.store import Store
from streams.acks import Arrived
from streams.archive import RECORD_TOPICS, ArchiveDeps, RecordArchive, UsageArchive
from streams.budget_stage import BudgetStage
from streams.census import CensusTaker
from streams.changelog import Changelog
from streams.contain import ContainDeps, ContainStage
from streams.contain_gate import Trust
from streams.contain_mint import Minting
from streams.decide import DecideStage
from streams.decide_core import Decider, offers
from streams.faust_apps import StageApp
from streams.gates_heard import Gates
from streams.health import Health
from streams.identity import Books, IdentityStage
from streams.ingest import IngestLoop
from streams.kafka import Timing, consumer
from streams.key_outcomes import cut_of
from streams.metrics import Metrics
from streams.notify import NotifyDeps, NotifyStage
from streams.open_incidents import OpenIncidents
from streams.outbox import Outbox
from streams.questions import QuestionDeps, QuestionStage
from streams.score import ScoreStage
from streams.shadow import Shadow
from streams.spend_core import SpendCore
from streams.switch_runs import Backups
from streams.topics import StateTopic, Topic
from streams.uses import UsesStage


@dataclass
class Edges:
    """What all stages of one worker share."""

    install: Install
    bootstrap: str
    producer: AIOKafkaProducer
    outbox: Outbox
    metrics: Metrics
    health: Health
    timing: Timing
    now_ms: Callable[[], int] = wall_ms
    closing: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)
    """Called when the worker stops, the newest first."""

    def group(self, stage: str) -> str:
        return f"{self.install.topics.prefix}keyfuse-{stage}"

    def changelog(self, topic: StateTopic) -> Changelog:
        return Changelog(self.bootstrap, self.install.topics.state_name(topic), self.producer)


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


def decide(edges: Edges, offered: Mapping[str, StepsOf], signer: Signer) -> tuple[StageApp, DecideStage]:
    """Findings, outcomes and requests → incidents and commands."""
    install, changelog = edges.install, edges.changelog(StateTopic.DECIDE)

    def decider() -> Decider:
        return Decider(
            install.responses, install.folder.budgets, offers(offered), install.people,
            registered=lambda key_id: install.registry.entry(key_id) is not None,
        )  # fmt: skip

    edges.health.stage("decide", time.monotonic())
    stage = DecideStage(
        decider=decider, store=changelog, outbox=edges.outbox, metrics=edges.metrics, signer=signer, now_ms=edges.now_ms
    )

    async def handle(record: Arrived) -> None:
        await stage.on_record(record.topic, record.partition, record.offset, record.value, now_ms=edges.now_ms())
        record.ack()
        edges.health.stage("decide", 0).committed(time.monotonic())

    names = [install.topics.name(topic) for topic in (Topic.FINDINGS, Topic.OUTCOMES, Topic.REQUESTS)]
    app = StageApp(
        edges.group("decide"), names, handle, stage.drop, changelog=changelog, restored=stage.restored,
        tick=stage.tick
    )  # fmt: skip
    return app, stage


def notify(edges: Edges, channels: Mapping[str, Channel]) -> tuple[StageApp, NotifyStage]:
    """Incidents → channels."""
    install, changelog = edges.install, edges.changelog(StateTopic.NOTIFY)
    edges.health.stage("notify", time.monotonic())
    stage = NotifyStage(
        NotifyDeps(
            routes=lambda: install.folder.routes,
            channels=channels,
            store=changelog,
            load=changelog.load,
            metrics=edges.metrics,
            now_ms=edges.now_ms,
            sleep=asyncio.sleep,
            besides=lambda: {budget.name: budget.escalate_to for budget in install.folder.budgets.budgets},
        )
    )

    async def handle(record: Arrived) -> None:
        stage.on_incident(record.partition, record.value, done=record.ack)

    app = StageApp(
        edges.group("notify"), [install.topics.name(Topic.INCIDENTS)], handle, stage.forget, changelog=changelog,
        restored=stage.restored, tick=stage.tick
    )  # fmt: skip
    return app, stage


def questions(edges: Edges, channels: Mapping[str, Channel]) -> tuple[StageApp, QuestionStage]:
    """Questions → people, through the channels that can ask."""
    install, changelog = edges.install, edges.changelog(StateTopic.QUESTIONS)

    def member(person: str) -> str:  # people.yaml may be read again
        return install.people.slack_of(person)

    stage = QuestionStage(
        QuestionDeps(
            routes=lambda: install.folder.routes, member=member,
            channels={name: channel for name, channel in channels.items() if isinstance(channel, Asking)},
            store=changelog, load=changelog.load, outbox=edges.outbox, metrics=edges.metrics, now_ms=edges.now_ms,
            sleep=asyncio.sleep,
        )
    )  # fmt: skip

    async def handle(record: Arrived) -> None:
        stage.on_question(record.value, done=record.ack)

    app = StageApp(
        edges.group("questions"), [install.topics.name(Topic.QUESTIONS)], handle, stage.forget, changelog=changelog
    )
    return app, stage


def identity(edges: Edges, signer: Signer | None = None) -> tuple[StageApp, IdentityStage]:
    """What is asked of keys → keys, questions to people, audit. Orders to make a credential are signed by `signer`."""
    install, journal = edges.install, edges.changelog(StateTopic.IDENTITY)

    def signing(order: MintOrder) -> MintOrder:  # without a signer no desk orders anything
        return order if signer is None else sign(order, signer, now_ms=edges.now_ms())

    edges.health.stage("identity", time.monotonic())
    stage = IdentityStage(
        desks=lambda: desks_of(install), keys=lambda: install.folder.keys, people=lambda: install.people,
        books=Books(lambda topic: Changelog(edges.bootstrap, install.topics.name(topic), edges.producer), journal),
        outbox=edges.outbox, metrics=edges.metrics, now_ms=edges.now_ms, sign=signing,
    )  # fmt: skip

    async def handle(record: Arrived) -> None:
        await stage.on_record(record.offset, record.value)
        record.ack()
        edges.health.stage("identity", 0).committed(time.monotonic())

    app = StageApp(
        edges.group("identity"), [install.topics.name(Topic.KEY_ASKS)], handle, stage.forget, changelog=journal,
        restored=stage.restored, tick=stage.tick
    )  # fmt: skip
    return app, stage


def outcomes_of_keys(edges: Edges) -> StageApp:
    """What became of cuts → what is asked of keys: an old key ends when it is seen to be refused."""

    async def handle(record: Arrived) -> None:
        outcome = cut_of(record.value)
        if outcome is not None:
            await edges.outbox.send(Topic.KEY_ASKS, [(outcome.key_id, outcome)])
        record.ack()

    name = edges.install.topics.name(Topic.OUTCOMES)
    return StageApp(edges.group("identity-outcomes"), [name], handle, lambda: None)


class Around(NamedTuple):
    """What the contain stage looks at besides its orders."""

    incidents: OpenIncidents
    gates: Gates


def contain(
    edges: Edges,
    providers: Mapping[str, Provider],
    switches: Mapping[str, Switch],
    around: Around,
    trust: Trust,
) -> tuple[StageApp, ContainStage]:
    """Commands → providers."""
    install, changelog = edges.install, edges.changelog(StateTopic.CONTAIN)
    edges.health.stage("contain", time.monotonic())
    stage = ContainStage(
        ContainDeps(
            responses=lambda: install.responses,
            providers=providers,
            store=changelog,
            outbox=edges.outbox,
            metrics=edges.metrics,
            now_ms=edges.now_ms,
            sleep=asyncio.sleep,
            freeze_file=Path(install.folder.responses.freeze_file),
            registered=install.registered,
            trust=trust,
            backups=Backups(
                of=lambda key_id: backup_of(install, key_id),
                users=lambda backup: users_of(install, backup),
                switches=switches,
                open_incident=around.incidents.has,
            ),
            gates=around.gates,
            minting=Minting(partial(minter_of, install), lambda secret: install.fingerprinter().of(secret)),
        )
    )

    async def handle(record: Arrived) -> None:
        await stage.on_record(record.value, done=record.ack)

    app = StageApp(
        edges.group("contain"), [install.topics.name(Topic.COMMANDS)], handle, stage.forget, changelog=changelog,
        tick=stage.tick
    )  # fmt: skip
    return app, stage
