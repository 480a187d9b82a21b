"""One process: some or all stages, started in order, watched, stopped cleanly."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from fastapi import APIRouter

from containment.providers.base import Provider
from containment.providers.gate import GateProvider
from schemas.key_record import KeyRecord
from schemas.records import Record
from service import adapters, identity_stages, incident_stages, lending, usage_stages
from service.answers import ways_back
from service.app_keeper import AppKeeper
from service.begin_budgets import begin_budgets
from service.begin_keys import LOST, begin_keys, begin_newest
from service.channels import channels_of
from service.config_kept import ConfigNews, ConfigTeller
from service.config_tree import Folder
from service.edges import Edges
from service.errors import UserError
from service.exception_news import ExceptionNews
from service.gate_port import BrokerPort
from service.http_app import create_app
from service.install import Install, wall_ms
from service.keep_running import keep_running
from service.key_http import keys_router
from service.late_store import LateStore
from service.leaks import leaks_router
from service.local_server import LocalServer
from service.people_left import people_left_routes
from service.query_commands import StoreAnswers
from service.reload import follow_folder
from service.renewed import Loop, Renewed
from service.settled_memory import settle_memory
from service.watchdog import Watchdog, Watched, people_told
from sources.acceptance import Acceptor
from sources.http_intake import create_intake
from sources.room import Room
from streams.budget_stage import BudgetStage
from streams.faust_apps import StageApp
from streams.follow import Take, follow
from streams.gate_watch import GateWatch, watch_gates
from streams.gates_heard import GatesHeard
from streams.health import Health
from streams.kafka import create_topics, producer, wait_for_broker
from streams.keys import follow_keys, read_keys
from streams.lender_stage import LenderStage
from streams.marks import follow_marks, read_marks
from streams.metrics import Metrics
from streams.newest_records import follow_newest, read_newest
from streams.open_incidents import OpenIncidents
from streams.outbox import Outbox
from streams.publish import Publisher
from streams.stats import follow_stats
from streams.topics import StateTopic, Topic

ROLES: Final = ("ingest", "archive", "score", "budget", "decide", "notify", "contain", "identity", "http")
_STORE_ROLES: Final = frozenset({"archive", "http"})
_CLOSE_S: Final = 10.0
# Of the others some hold records back for as long as they need; some read one partition, for which all workers but one
# wait: each of those would take itself for the one that never came back, and end.
_WATCHED: Final = frozenset({"score", "uses", "decide", "identity-outcomes"})
log = structlog.get_logger()


class Worker:
    """Start it, wait, stop it. `stages_of` gives tests and the demo a look inside."""

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
        self._stopping = False
        self._apps: list[AppKeeper] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], Awaitable[Any]]] = []
        self._watched: list[Watched] = []
        self.stuck = asyncio.Event()
        """A stage stands still, and beginning it anew does not help: the process should end."""
        self._last: list[Callable[[], Awaitable[Any]]] = []  # closed when no stage calls them any more, in this order

    async def start(self) -> None:
        """Returns when every stage reads."""
        install = self.install
        await wait_for_broker(self.bootstrap)
        factor = install.folder.wiring.kafka.replication_factor
        await create_topics(self.bootstrap, install.topics.specs(), replication_factor=factor)
        sender = producer(self.bootstrap, linger_ms=2)
        await sender.start()
        self._closers.append(sender.stop)
        await read_keys(self.bootstrap, *self._topic(Topic.KEYS), take=install.registry.take)
        edges = Edges(
            install,
            self.bootstrap,
            sender,
            Outbox(sender, install.topics),
            self.metrics,
            self.health,
            install.timing,
            self._now_ms,
            self._closers,
        )
        if self.store is not None:
            await asyncio.to_thread(self.store.try_now)
            if "identity" in self.roles:
                await begin_keys(install.registry, self.store, edges.outbox)
                for lost in LOST:
                    await begin_newest(lost, self._newest, self.store, edges.outbox)
            if "budget" in self.roles:
                await begin_budgets(install, self.store, edges.changelog(StateTopic.BUDGET), now_ms=self._now_ms())
        await self._start_apps(edges)
        await self._start_loops(edges)
        ways = ways_back(edges, self.store, self.roles, self._ending)
        for name, loop in ways.loops.items():
            self._run(name, loop)
        if "http" in self.roles:
            assert self.store is not None  # noqa: S101 - http is one of the roles that have one
            intake = self._intake(Publisher(sender, install.topics.name(Topic.RAW)))
            hr = people_left_routes(edges)
            await self._serve([intake, leaks_router(edges, self.store), keys_router(edges), *hr, *ways.routers])
        elif set(self.roles) != {"contain"}:  # who holds the admin keys listens to nobody
            await self._serve([])
        self._config = ConfigNews(install.folder, self._now_ms)
        teller = ConfigTeller(edges.outbox, worker=uuid.uuid4().hex, roles=self.roles)
        self._run("keys", lambda: follow_keys(
            self.bootstrap, *self._topic(Topic.KEYS), take=self._learn, stopping=self._ending
        ))  # fmt: skip
        if "identity" in self.roles:
            self._run("budgets", lambda: follow_newest(
                self.bootstrap, *self._topic(Topic.BUDGETS), install.standing, stopping=self._ending
            ))  # fmt: skip
        self._run("config", lambda: self._config.follow(teller))
        self._watch(edges.outbox)
        self._run("reload", lambda: follow_folder(install, self.metrics, changed=self._reloaded, stopping=self._ending))
        settle_memory(100_000, 50, 100)  # a fifth of the hot path was garbage collection
        self.health.ready = True

    async def stop(self) -> None:
        """In the order of the flow, so that what is in flight gets through; never longer than it must."""
        self._stopping = True
        self.health.ready = False
        for closer in reversed(self._closers[1:]):
            await _in_time(closer)
        await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
        for closer in self._last:
            await _in_time(closer)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for closer in self._closers[:1]:
            await _in_time(closer)
        if self.store is not None:
            await asyncio.to_thread(self.store.close)

    def _ending(self) -> bool:
        return self._stopping

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

    async def _start_apps(self, edges: Edges) -> None:
        install, chosen, listeners = self.install, list[tuple[str, StageApp]](), list[Any]()
        if "score" in self.roles:
            app, self.score = usage_stages.score(edges)
            self.score.allow(await read_marks(self.bootstrap, *self._topic(Topic.MARKS)))
            chosen.append(("score", app))
        if {"score", "budget"} & set(self.roles):
            await self._follow_exceptions()
        if "budget" in self.roles:
            chosen += [("uses", usage_stages.uses(edges)[0]), ("budget", self._budget_app(edges))]
            app, self.lender = lending.lender(edges)
            chosen.append(("lender", app))
        own = {"decide", "contain"} <= set(self.roles)
        signer = install.order_signer(make=own) if "decide" in self.roles else None
        if signer is not None:
            app, decide = incident_stages.decide(edges, install.offered(), signer)
            chosen.append(("decide", app))
            listeners.append(decide.on_stats)
        if "identity" in self.roles:
            orders = signer or (install.order_signer_if_any() if install.minting() else None)
            app, _ = identity_stages.identity(edges, orders)
            chosen += [("identity", app), ("identity-outcomes", identity_stages.outcomes_of_keys(edges))]
        if "notify" in self.roles:
            channels = channels_of(install)
            app, notify = incident_stages.notify(edges, channels)
            chosen.append(("notify", app))
            notify.start()
            app, asking = incident_stages.questions(edges, channels)
            chosen.append(("questions", app))
            self._closers += [notify.stop, asking.stop]
            self._last += [channel.close for channel in channels.values()]
        if "contain" in self.roles:
            trust = install.trust(own=signer.public_key if signer else "")
            providers, switches = adapters.providers(install), adapters.switches(install)
            incidents, gates = OpenIncidents(), GatesHeard(now_ms=self._now_ms, tick_s=time.monotonic)
            watch = GateWatch(gates, lambda: install.folder.wiring.gate, now_ms=self._now_ms, tick_s=time.monotonic)
            await self._read_and_follow(
                Topic.INCIDENTS, lambda key, value: watch.take(key, value) | incidents.take(key, value)
            )
            await self._read_and_follow(Topic.GATES, gates.take, caught_up=gates.caught_up)
            self._run("silent-gates", lambda: watch_gates(
                watch, edges.outbox, self.metrics, reached=edges.producer.client.force_metadata_update,
                stopping=self._ending,
            ))  # fmt: skip
            await self._connect_gates(providers, edges.outbox, gates)
            app, contain = incident_stages.contain(
                edges, providers, switches, incident_stages.Around(incidents, gates), trust
            )
            chosen.append(("contain", app))
            listeners.append(contain.on_stats)
            self._last += [contain.stop]
            self._last += [provider.close for provider in providers.values()]
            self._last += [switch.close for switch in switches.values()]
        self._apps = [self._keeper(name, app) for name, app in chosen]
        for (name, app), keeper in zip(chosen, self._apps, strict=True):
            if name in _WATCHED:
                self._watch_over(name, app.name, app.topics, keeper)
        await asyncio.gather(*(app.start() for app in self._apps))
        self._follow(edges, listeners)

    def _follow(self, edges: Edges, listeners: list[Any]) -> None:
        """What the stages are told besides what they read."""
        if self.score is not None:
            self._run("marks", lambda: follow_marks(
                self.bootstrap, *self._topic(Topic.MARKS), changed=self.score.allow, stopping=self._ending
            ))  # fmt: skip
        if self.lender is not None:
            for name, loop in lending.loops(edges, self.lender, self._ending).items():
                self._run(name, loop)
        if listeners:
            name = self.install.topics.name(Topic.STATS)
            self._run("stats", lambda: follow_stats(self.bootstrap, name, listeners, self._ending))

    async def _connect_gates(self, providers: Mapping[str, Provider], outbox: Outbox, gates: GatesHeard) -> None:
        """Keys of Keyfuse's own, where keyfuse.yaml names a provider for them."""
        own = [provider for provider in providers.values() if isinstance(provider, GateProvider)]
        if own:
            port = BrokerPort(outbox, gates, registry=lambda: self.install.registry, now_ms=self._now_ms)
            await self._read_and_follow(Topic.VERDICTS, port.take)
            for provider in own:
                provider.connect(port)

    async def _read_and_follow(self, topic: Topic, take: Take, *, caught_up: Callable[[], None] = lambda: None) -> None:
        """Read up to now, and followed from then on."""
        name, count = self._topic(topic)
        wait_ms = self.install.timing.fetch_wait_ms

        async def read(stopping: Callable[[], bool]) -> None:
            await follow(
                self.bootstrap, name, count, take=take, changed=caught_up, stopping=stopping, fetch_wait_ms=wait_ms
            )

        await read(lambda: True)
        self._run(topic.value, lambda: read(self._ending))

    def _budget_app(self, edges: Edges) -> StageApp:
        app, self.budget = usage_stages.budget(edges)
        return app

    async def _follow_exceptions(self) -> None:
        """Read up to now, and followed from then on."""
        excepted = ExceptionNews(self.install, self.score, self.bootstrap)
        await excepted.follow(lambda: True)
        self._run("exceptions", lambda: excepted.follow(self._ending))

    def _topic(self, topic: Topic) -> tuple[str, int]:
        topics = self.install.topics
        return topics.name(topic), topics.count(topic)

    async def _newest(self, topic: Topic, kind: type[Record]) -> Mapping[str, Record]:
        return await read_newest(self.bootstrap, *self._topic(topic), kind)

    def _keeper(self, name: str, app: StageApp) -> AppKeeper:
        progress = self.health.stage(name, time.monotonic())
        return AppKeeper(app, self.bootstrap, timing=self.install.timing, progress=progress, now_s=time.monotonic)

    async def _start_loops(self, edges: Edges) -> None:
        if "ingest" in self.roles:
            loop = await self._start_loop("ingest", lambda: usage_stages.ingest(edges))
            self._watch_over("ingest", edges.group("ingest"), [self.install.topics.name(Topic.RAW)], loop)
        if "archive" in self.roles and self.store is not None:
            store = self.store
            loop = await self._start_loop("archive", lambda: usage_stages.usage_archive(edges, store))
            self._watch_over("archive", edges.group("archive"), [self.install.topics.name(Topic.FRAMES)], loop)
            await self._start_loop("archive", lambda: usage_stages.record_archive(edges, store))

    async def _start_loop(self, name: str, make: Callable[[], Awaitable[Loop]]) -> Renewed:
        loop = Renewed(await make(), make)
        self._closers.append(self._ender(name, loop, self._run(name, loop.run)))
        return loop

    def _watch_over(self, name: str, group: str, topics: Sequence[str], kept: Renewed | AppKeeper) -> None:
        """The topics have as many partitions as there are of the usage topics."""
        partitions = range(self.install.topics.partitions)
        tps = [TopicPartition(topic, number) for topic in topics for number in partitions]
        progress = self.health.stage(name, time.monotonic())
        self._watched.append(Watched(name, group, tps, kept.assigned, kept.restart, progress))

    def _watch(self, outbox: Outbox) -> None:
        wiring = self.install.folder.wiring
        if not (wiring.watchdog.stuck_after_s and self._watched):
            return
        embedded = wiring.kafka.bootstrap == "embedded"  # all of its topics would end with this process
        dog = Watchdog(
            self.bootstrap, self._watched, after_s=wiring.watchdog.stuck_after_s, metrics=self.metrics,
            tell=people_told(outbox, ends=not embedded, now_ms=self._now_ms),
            give_up=None if embedded else lambda _: self.stuck.set(),
        )  # fmt: skip
        self._run("watchdog", lambda: dog.run(time.monotonic))

    def _ender(self, name: str, loop: Loop, task: asyncio.Task[None]) -> Callable[[], Awaitable[None]]:
        async def end() -> None:
            loop.stop()
            done, _ = await asyncio.wait([task], timeout=5)
            if not done:
                log.warning("stage did not end in time; what it had not acknowledged comes again", stage=name)
                task.cancel()
            await loop.close()

        return end

    def _run(self, name: str, loop: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        kept = keep_running(
            name, loop, progress=self.health.stage(name, time.monotonic()), metrics=self.metrics, now_s=time.monotonic,
            sleep=asyncio.sleep,
        )  # fmt: skip
        task = asyncio.create_task(kept, name=name)
        self._tasks.append(task)
        return task

    def _intake(self, publish: Publisher) -> APIRouter:
        install = self.install
        future_s = install.folder.detectors.time.max_future_s
        acceptor = Acceptor(fingerprinter=install.fingerprinter(), max_future_s=future_s)
        sizes = install.folder.wiring.intake
        room = Room(
            sizes.max_in_flight_bytes, changed=lambda held: self.metrics.set("keyfuse_intake_in_flight_bytes", held)
        )
        return create_intake(
            publish=publish, acceptor=acceptor, token=install.intake_token(), max_body_bytes=sizes.max_body_bytes,
            now_ms=self._now_ms, room=room,
            answered=lambda status: self.metrics.inc("keyfuse_intake_requests_total", code=str(status)),
        )  # fmt: skip

    async def _serve(self, routers: list[APIRouter]) -> None:
        wiring = self.install.folder.wiring
        where = wiring.intake if routers else wiring.health
        app = create_app(
            routers=routers, health=self.health, metrics=self.metrics, monotonic_s=time.monotonic,
            token=self.install.query_token() if routers else None,
            answers=StoreAnswers(self.store) if self.store else None,
        )  # fmt: skip
        server = LocalServer(app, host=where.host, port=where.port)
        try:
            self.url = await server.start()
        except OSError as error:
            raise UserError(f"{error}: is another `keyfuse` running there? Set another port in keyfuse.yaml") from error
        self._closers.append(server.stop)


async def _in_time(closer: Callable[[], Awaitable[Any]]) -> None:
    """What does not close, or not in time, ends with the process; the others are closed all the same."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await closer()
    except TimeoutError:
        log.warning("something did not close in time", seconds=_CLOSE_S)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.warning("something did not close", why="what it waited for was cancelled")
    except Exception as error:  # of whatever library: without its broker, a producer's for one
        log.warning("something did not close", why=f"{type(error).__name__}: {error}")
