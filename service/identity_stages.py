"""The stages that look after keys put together: what is asked of keys, and what became of their cuts."""

from __future__ import annotations

import time

from containment.orders import sign
from schemas.minting import MintOrder
from schemas.signing import Signer
from service.edges import Edges
from service.identity_desks import desks_of
from streams.acks import Arrived
from streams.changelog import Changelog
from streams.faust_apps import StageApp
from streams.identity import Books, IdentityStage
from streams.key_outcomes import cut_of
from streams.topics import StateTopic, Topic


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
