"""Each stage from a finding to the cut put together: its pure parts from the install, its edges from the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from alerting.channels.base import Asking, Channel
from containment.providers.base import Provider, StepsOf
from containment.switches.base import Switch
from schemas.signing import Signer
from service.adapters import minter_of
from service.backups import backup_of, users_of
from service.edges import Edges
from streams.acks import Arrived
from streams.contain import ContainDeps, ContainStage
from streams.contain_gate import Trust
from streams.contain_mint import Minting
from streams.decide import DecideStage
from streams.decide_core import Decider, offers
from streams.faust_apps import StageApp
from streams.gates_heard import Gates
from streams.notify import NotifyDeps, NotifyStage
from streams.open_incidents import OpenIncidents
from streams.questions import QuestionDeps, QuestionStage
from streams.switch_runs import Backups
from streams.topics import StateTopic, Topic


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
