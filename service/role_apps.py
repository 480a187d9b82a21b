"""The apps of each role: those of its stages, and what else must run, listen or be closed for them.

The role `contain` has a file of its own: `contain_role`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.records import PartitionStats
from schemas.signing import Signer
from service import identity_stages, incident_stages, lending, usage_stages
from service.channels import channels_of
from service.closing import Closer
from service.edges import Edges
from service.loops import Loops
from streams.budget_stage import BudgetStage
from streams.faust_apps import StageApp
from streams.lender_stage import LenderStage
from streams.marks import read_marks
from streams.score import ScoreStage
from streams.topics import Topic


@dataclass
class RoleApps:
    """Of one worker; each of its roles adds to them."""

    edges: Edges
    loops: Loops
    last: list[Closer]
    """Closed when no stage calls them any more, in this order."""
    apps: list[tuple[str, StageApp]] = field(default_factory=list)
    listeners: list[Callable[[PartitionStats], None]] = field(default_factory=list)
    """Told what the score partitions say of themselves."""

    def add(self, name: str, app: StageApp) -> None:
        self.apps.append((name, app))


async def score(to: RoleApps) -> ScoreStage:
    edges = to.edges
    app, stage = usage_stages.score(edges)
    stage.allow(await read_marks(edges.bootstrap, *edges.topic(Topic.MARKS)))
    to.add("score", app)
    return stage


def budget(to: RoleApps) -> tuple[BudgetStage, LenderStage]:
    to.add("uses", usage_stages.uses(to.edges)[0])
    app, stage = usage_stages.budget(to.edges)
    to.add("budget", app)
    app, lender = lending.lender(to.edges)
    to.add("lender", app)
    return stage, lender


def decide(to: RoleApps, *, own: bool) -> Signer:
    """Gives what orders are signed with. `own`: this worker carries them out too, and may make itself a key."""
    install = to.edges.install
    signer = install.order_signer(make=own)
    app, stage = incident_stages.decide(to.edges, install.offered(), signer)
    to.add("decide", app)
    to.listeners.append(stage.on_stats)
    return signer


def identity(to: RoleApps, signer: Signer | None) -> None:
    install = to.edges.install
    orders = signer or (install.order_signer_if_any() if install.minting() else None)
    to.add("identity", identity_stages.identity(to.edges, orders)[0])
    to.add("identity-outcomes", identity_stages.outcomes_of_keys(to.edges))


def notify(to: RoleApps) -> None:
    edges = to.edges
    channels = channels_of(edges.install)
    app, telling = incident_stages.notify(edges, channels)
    to.add("notify", app)
    telling.start()
    app, asking = incident_stages.questions(edges, channels)
    to.add("questions", app)
    edges.closing += [telling.stop, asking.stop]
    to.last += [channel.close for channel in channels.values()]
