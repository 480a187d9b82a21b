"""One process: some or all stages, started in order, watched, stopped cleanly."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from detectors.river_models import load_river
from schemas.key_record import KeyRecord
from schemas.records import Record
from service import lending, role_apps, usage_stages
from service.answers import ways_back
from service.app_keeper import AppKeeper
from service.begin_budgets import begin_budgets
from service.begin_keys import LOST, begin_keys, begin_newest
from service.closing import Closer, close_in_time, end_loop
from service.config_kept import ConfigNews, ConfigTeller
from service.config_tree import Folder
from service.contain_role import contain
from service.edges import Edges
from service.errors import UserError
from service.exception_news import ExceptionNews
from service.install import Install, wall_ms
from service.late_store import LateStore
from service.loops import Loops
from service.reload import follow_folder
from service.renewed import Loop, Renewed
from service.role_apps import RoleApps
from service.serving import routes, serve
from service.settled_memory import settle_memory
from service.watchdog import Watched
from service.watched_stages import WATCHED_APPS, watchdog, watched
from streams.budget_stage import BudgetStage
from streams.faust_apps import StageApp
from streams.health import Health
from streams.kafka import create_topics, producer, wait_for_broker
from streams.keys import follow_keys, read_keys
from streams.lender_stage import LenderStage
from streams.marks import follow_marks
from streams.metrics import Metrics
from streams.newest_records import follow_newest, read_newest
from streams.outbox import Outbox
from streams.stats import follow_stats
from streams.topics import StateTopic, Topic

ROLES: Final = ("ingest", "archive", "score", "budget", "decide", "notify", "contain", "identity", "http")
_STORE_ROLES: Final = frozenset({"archive", "http"})


class Worker:
    """Start it, wait, stop it. `score`, `budget` and `lender` give a look inside."""

    def __init__(
        self, install: Install, bootstrap: str, roles: Iterable[str] = ROLES, *, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self.install, self._now_ms = install, now_ms
        self.bootstrap = bootstrap
        self.roles = tuple(roles)
        unknown = set(self.roles) - set(ROLES)
        if unknown:
            raise UserError(f"--role {', '.join(sorted(unknown))}: expected some of {', '.join(ROLES)}")
        self.metrics = Metrics()
        self.health = Health()
        self.store: LateStore | None = LateStore(install) if _STORE_ROLES & set(self.roles) else None
        self.url = ""
        self.score: Any = None
        self.budget: BudgetStage | None = None
        self.lender: LenderStage | None = None
        self.stuck = asyncio.Event()
        """A stage stands still, and beginning it anew does not help: the process should end."""
        self._loops = Loops(self.health, self.metrics)
        self._apps: list[AppKeeper] = []
        self._watched: list[Watched] = []
        self._closers: list[Closer] = []
        self._last: list[Closer] = []  # closed when no stage calls them any more, in this order

    async def start(self) -> None:
        """Returns when every stage reads."""
        # Seconds of imports, while the broker and the groups are waited for.
        models = asyncio.create_task(asyncio.to_thread(load_river)) if "score" in self.roles else None
        edges = await self._connect()
        if self.store is not None:
            await self._begin(edges, self.store)
        await self._start_apps(edges)
        await self._start_loops(edges)
        await self._serve(edges)
        self._follow_changes(edges)
        dog = watchdog(edges, self._watched, stuck=self.stuck)
        if dog is not None:
            self._loops.run("watchdog", partial(dog.run, time.monotonic))
        if models is not None:
            await models
        settle_memory(100_000, 50, 100)  # a fifth of the hot path was garbage collection
        self.health.ready = True

    async def stop(self) -> None:
        """In the order of the flow, so that what is in flight gets through; never longer than it must."""
        self._loops.stop()
        self.health.ready = False
        for closer in reversed(self._closers[1:]):
            await close_in_time(closer)
        await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
        for closer in self._last:
            await close_in_time(closer)
        await self._loops.cancel()
        for closer in self._closers[:1]:
            await close_in_time(closer)
        if self.store is not None:
            await asyncio.to_thread(self.store.close)

    async def _connect(self) -> Edges:
        """Topics there, the producer ready, keys read."""
        install = self.install
        await wait_for_broker(self.bootstrap)
        factor = install.folder.wiring.kafka.replication_factor
        await create_topics(self.bootstrap, install.topics.specs(), replication_factor=factor)
        sender = producer(self.bootstrap, linger_ms=2)
        await sender.start()
        self._closers.append(sender.stop)
        edges = Edges(
            install, self.bootstrap, sender, Outbox(sender, install.topics), self.metrics, self.health, install.timing,
            self._now_ms, self._closers,
        )  # fmt: skip
        await read_keys(self.bootstrap, *edges.topic(Topic.KEYS), take=install.registry.take)
        return edges

    async def _begin(self, edges: Edges, store: LateStore) -> None:
        """With what the store has, where the broker has lost it."""

        async def newest(topic: Topic, kind: type[Record]) -> Mapping[str, Record]:
            return await read_newest(self.bootstrap, *edges.topic(topic), kind)

        await asyncio.to_thread(store.try_now)
        if "identity" in self.roles:
            await begin_keys(self.install.registry, store, edges.outbox)
            for lost in LOST:
                await begin_newest(lost, newest, store, edges.outbox)
        if "budget" in self.roles:
            await begin_budgets(self.install, store, edges.changelog(StateTopic.BUDGET), now_ms=self._now_ms())

    async def _start_apps(self, edges: Edges) -> None:
        """`decide` before the roles that are given its signer."""
        roles, to = set(self.roles), RoleApps(edges, self._loops, self._last)
        if "score" in roles:
            self.score = await role_apps.score(to)
        if {"score", "budget"} & roles:
            await self._follow_exceptions()
        if "budget" in roles:
            self.budget, self.lender = role_apps.budget(to)
        signer = role_apps.decide(to, own="contain" in roles) if "decide" in roles else None
        if "identity" in roles:
            role_apps.identity(to, signer)
        if "notify" in roles:
            role_apps.notify(to)
        if "contain" in roles:
            await contain(to, signer)
        for name, app in to.apps:
            keeper = self._keeper(name, app)
            self._apps.append(keeper)
            if name in WATCHED_APPS:
                self._watched.append(watched(edges, name, app.name, app.topics, keeper))
        await asyncio.gather(*(app.start() for app in self._apps))
        self._follow_beside(to)

    def _keeper(self, name: str, app: StageApp) -> AppKeeper:
        progress = self.health.stage(name, time.monotonic())
        return AppKeeper(app, self.bootstrap, timing=self.install.timing, progress=progress, now_s=time.monotonic)

    def _follow_beside(self, to: RoleApps) -> None:
        """What the stages are told besides what they read."""
        edges, stopping = to.edges, self._loops.stopping
        if self.score is not None:
            self._loops.run("marks", lambda: follow_marks(
                self.bootstrap, *edges.topic(Topic.MARKS), changed=self.score.allow, stopping=stopping
            ))  # fmt: skip
        if self.lender is not None:
            for name, loop in lending.loops(edges, self.lender, stopping).items():
                self._loops.run(name, loop)
        if to.listeners:
            stats = self.install.topics.name(Topic.STATS)
            self._loops.run("stats", lambda: follow_stats(self.bootstrap, stats, to.listeners, stopping))

    async def _follow_exceptions(self) -> None:
        """Read up to now, and followed from then on."""
        excepted = ExceptionNews(self.install, self.score, self.bootstrap)
        await excepted.follow(lambda: True)
        self._loops.run("exceptions", lambda: excepted.follow(self._loops.stopping))

    async def _start_loops(self, edges: Edges) -> None:
        def watch(name: str, topic: Topic, loop: Renewed) -> None:
            self._watched.append(watched(edges, name, edges.group(name), [self.install.topics.name(topic)], loop))

        if "ingest" in self.roles:
            watch("ingest", Topic.RAW, await self._start_loop("ingest", lambda: usage_stages.ingest(edges)))
        if "archive" in self.roles and self.store is not None:
            store = self.store
            loop = await self._start_loop("archive", lambda: usage_stages.usage_archive(edges, store))
            watch("archive", Topic.FRAMES, loop)
            await self._start_loop("archive", lambda: usage_stages.record_archive(edges, store))

    async def _start_loop(self, name: str, make: Callable[[], Awaitable[Loop]]) -> Renewed:
        loop = Renewed(await make(), make)
        self._closers.append(partial(end_loop, name, loop, self._loops.run(name, loop.run)))
        return loop

    async def _serve(self, edges: Edges) -> None:
        """HTTP, and the ways on which people answer."""
        ways = ways_back(edges, self.store, self.roles, self._loops.stopping)
        for name, loop in ways.loops.items():
            self._loops.run(name, loop)
        if "http" in self.roles:
            assert self.store is not None  # noqa: S101 - http is one of the roles that have one
            self.url = await serve(edges, [*routes(edges, self.store), *ways.routers], self.store)
        elif set(self.roles) != {"contain"}:  # who holds the admin keys listens to nobody
            self.url = await serve(edges, [], self.store)

    def _follow_changes(self, edges: Edges) -> None:
        """Of keys, budgets and the configuration folder."""
        install, stopping = self.install, self._loops.stopping
        self._loops.run("keys", lambda: follow_keys(
            self.bootstrap, *edges.topic(Topic.KEYS), take=self._learn, stopping=stopping
        ))  # fmt: skip
        if "identity" in self.roles:
            self._loops.run("budgets", lambda: follow_newest(
                self.bootstrap, *edges.topic(Topic.BUDGETS), install.standing, stopping=stopping
            ))  # fmt: skip
        self._config = ConfigNews(install.folder, self._now_ms)
        teller = ConfigTeller(edges.outbox, worker=uuid.uuid4().hex, roles=self.roles)
        self._loops.run("config", lambda: self._config.follow(teller))
        self._loops.run("reload", lambda: follow_folder(
            install, self.metrics, changed=self._reloaded, stopping=stopping
        ))  # fmt: skip

    def _learn(self, record: KeyRecord) -> bool:
        """A key that was issued or changed. The registry is another one after each reload."""
        new = self.install.registry.take(record)
        if new and self.score is not None:
            self.score.settle(record.key_id)
        if new and self.budget is not None:
            self.budget.changed()
        return new

    def _reloaded(self, folder: Folder) -> None:
        self._config.changed(folder)
        if self.score is not None:
            self.score.reconfigure(folder.detectors)
        for told in (self.budget, self.lender):
            if told is not None:
                told.changed()
