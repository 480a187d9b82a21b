"""The lender of budgets' slices put together: its stage, and what it is told of budgets and of usage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError

from controls.budgets import Budgets
from schemas.spend import BudgetStatus
from service.clocks import steady_ms
from service.edges import Edges
from streams.acks import Arrived
from streams.faust_apps import StageApp
from streams.follow import follow
from streams.lease_log import KafkaLeaseLog
from streams.lender_stage import LenderStage, Terms
from streams.topics import Topic
from streams.usage_chase import Step, follow_usage

log = structlog.get_logger()


def lender(edges: Edges) -> tuple[StageApp, LenderStage]:
    """Asks of gates → slices of budgets."""
    install = edges.install

    def terms() -> Terms:
        gate = install.folder.wiring.gate
        return Terms(*(round(each * 1000) for each in (gate.lease_s, gate.reservation_s, gate.seen_within_s)))

    stage = LenderStage(
        budgets=lambda: Budgets(install.folder.budgets), terms=terms,
        topic=KafkaLeaseLog(edges.bootstrap, install.topics.name(Topic.LEASES), edges.producer),
        new_name=lambda: uuid.uuid4().hex[:12], metrics=edges.metrics,
        progress=edges.health.stage("lender", time.monotonic()),
    )  # fmt: skip

    async def handle(ask: Arrived) -> None:
        await stage.on_ask(ask, wall_ms=edges.now_ms(), mono_ms=steady_ms())

    async def tick() -> None:
        await stage.tick(wall_ms=edges.now_ms(), mono_ms=steady_ms())

    app = StageApp(edges.group("lender"), [install.topics.name(Topic.LEASE_ASKS)], handle, stage.drop, tick=tick)
    return app, stage


def loops(
    edges: Edges, stage: LenderStage, stopping: Callable[[], bool]
) -> dict[str, Callable[[], Awaitable[None]]]:  # fmt: skip
    """What tells the lender where budgets stand, and how far usage was seen."""
    topics = edges.install.topics
    way = ((Topic.RAW, "ingest"), (Topic.FRAMES, "uses"), (Topic.SPEND, "budget"))
    steps: list[Step] = [(topics.name(topic), topics.count(topic), edges.group(group)) for topic, group in way]

    def take(_: bytes | None, value: bytes | None) -> bool:
        try:
            if value is not None:
                stage.stands(BudgetStatus.from_bytes(value))
        except ValidationError:
            log.warning("not a budget's state; it counts for nothing", bytes=len(value or b""))
        return False

    async def statuses() -> None:
        name = topics.name(Topic.BUDGETS)
        await follow(
            edges.bootstrap, name, topics.count(Topic.BUDGETS), take=take, changed=lambda: None, stopping=stopping
        )  # fmt: skip

    async def usage() -> None:
        await follow_usage(edges.bootstrap, steps, mono_ms=steady_ms, caught_up=stage.caught_up, stopping=stopping)

    return {"statuses": statuses, "usage-seen": usage}
