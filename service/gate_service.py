"""One gate replica: what it knows, what it answers, what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gate.check import PATH
from gate.checks import Checks
from gate.decide import Decider
from gate.http import Listener
from gate.known import Known
from gate.lease import Borrower
from gate.leased import LeasedSlices
from gate.memory import sealed
from gate.reach import BrokerReach
from gate.reservations import Reservations
from gate.savings import Savings
from gate.server import Edge, GateServer
from schemas.gate_report import GateReport
from schemas.records import rfc3339
from service.clocks import steady_ms
from service.gate_feed import GateFeed
from service.gate_lending import borrow, give_back, hears, keep, keep_going, state_dir, tell_savings
from service.gate_memory import GateMemory
from service.gate_metrics import failed, show
from service.gate_news import GateNews
from service.gate_planes import planes_of
from service.install import Install, wall_ms
from service.reload import follow_folder
from service.secrets import resolve
from sources.price_list import dearest_of, dearest_per_token
from sources.pricing import PriceBook
from streams.errors import BrokerDown
from streams.kafka import create_topics, producer, wait_for_broker
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

REPORT_EVERY_S: Final = 1.0
_EXPIRE_EVERY_S: Final = 0.5
_TURNS_PER_HOUR: Final = 7200
PATIENCE_S: Final = 10.0
"""With the broker at the start, where there is something to go by without it."""
log = structlog.get_logger()


class GateService:
    """Start it, wait, stop it."""

    def __init__(
        self, install: Install, bootstrap: str, *, port: int | None = None, patience_s: float = PATIENCE_S
    ) -> None:  # fmt: skip
        gate = install.folder.wiring.gate
        self.install, self.bootstrap, self.metrics = install, bootstrap, Metrics()
        port = gate.port if port is None else port
        self.replica = gate.replica or f"{socket.gethostname()}:{port}"
        self.started_ms, self._patience_s = wall_ms(), patience_s
        self.known, self._prices = Known(install.registry), PriceBook().per_token
        dearest_per_token()  # the whole table: not at the first call that needs it
        self.borrower = Borrower(self.replica, f"{self.started_ms:x}-{secrets.token_hex(4)}")
        self.slices = LeasedSlices(self.borrower, self.known.status, tick_ms=steady_ms)
        self.reach = BrokerReach(
            self.replica, self.started_ms, settings=lambda: self.decider.planes.settings, tick_ms=steady_ms
        )
        self.memory = GateMemory(state_dir(install, self.replica))
        self.decider = Decider(
            self.known, planes_of(install.folder, at_ms=self.started_ms), slices=self.slices, reach=self.reach,
            prices=self._prices, dearest=dearest_of,
            reservations=Reservations(f"{self.replica}/{self.started_ms:x}-", hold_ms=gate.reservation_s * 1000),
        )  # fmt: skip
        self.savings = Savings(self.decider, self.known, self._prices, gate=f"{self.replica}/{self.started_ms:x}")
        self._told = asyncio.Event()
        self._sender: AIOKafkaProducer | None = None
        self._outbox: Outbox | None = None
        self._shown: Counter[str] = Counter()
        self._news = GateNews(install, self.known, self.decider, self.slices, self.metrics, told=self._told.set)
        takers = self._news.takers(leases=hears(self.borrower), reported=self._reported)
        self.feed = GateFeed(
            bootstrap, install.topics, takers, timing=install.timing, progressed=self._news.progressed,
            caught_up=self.known.caught_up,
        )  # fmt: skip
        token = resolve(gate.token_env, "", environ=install.environ, what="gate token")
        self.server = GateServer(
            Edge(
                self.savings, install.fingerprinter().of, wall_ms, steady_ms, token, self._problems, self._render,
                self._details, self._stale_s, partial(failed, self.metrics),
            )
        )  # fmt: skip
        self.server.beneath(PATH.encode(), Checks(self.server.edge).answer)
        self._http = Listener(self.server, host=gate.host, port=port)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def start(self) -> None:
        """Returns when it has read all there is and answers; by what it kept on disk, if the broker is away."""
        remembered = await asyncio.to_thread(self.memory.read)
        if remembered is None:
            await self._connect()
            await self.feed.filled.wait()
        else:
            self._news.recall(remembered)
            self._run("connect", self._connect_at_last)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.feed.filled.wait(), self._patience_s)
        self._run("expire", self._expire)
        self._run("keep", lambda: keep(self.memory, self._packing))
        self._run(
            "folder",
            lambda: follow_folder(self.install, self.metrics, changed=self._news.reloaded, stopping=self._ending),
        )
        self.url = await self._http.start()

    async def stop(self) -> None:
        """Answers what it has accepted, gives back what it was lent, says that it leaves, and ends."""
        self._stopping = True
        await self._http.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        pieces = self._packing(all_news=True)
        if pieces is not None:
            with contextlib.suppress(OSError):  # it knows a little less after the restart
                await asyncio.to_thread(self.memory.write, sealed(pieces, wall_ms()))
        if self._outbox is None or self._sender is None:
            return
        try:
            await asyncio.wait_for(give_back(self.borrower, self._outbox), 2)
            await asyncio.wait_for(self._send_report(self._outbox, leaving=True), 2)
        except (TimeoutError, KafkaError, OSError):
            log.warning("the broker does not take this gate's leave; its last report will count as silence")
        with contextlib.suppress(TimeoutError):  # what it holds is for a broker that is away
            await asyncio.wait_for(self._sender.stop(), 2)

    async def _connect(self) -> None:
        install = self.install
        await wait_for_broker(self.bootstrap)
        factor = install.folder.wiring.kafka.replication_factor
        await create_topics(self.bootstrap, install.topics.specs(), replication_factor=factor)
        sender = producer(self.bootstrap)
        try:
            await sender.start()
        except BaseException:  # also when it is cancelled: a producer that is not stopped stays
            await sender.stop()
            raise
        self._sender, self._outbox = sender, (outbox := Outbox(sender, install.topics))
        self._run("feed", lambda: self.feed.run(self._ending))
        self._run("report", lambda: self._report(outbox))
        self._run("borrow", lambda: borrow(self.borrower, outbox))
        self._run("savings", lambda: tell_savings(self.savings, outbox))

    async def _connect_at_last(self) -> None:
        while True:
            try:
                return await self._connect()
            except (BrokerDown, KafkaError, OSError) as error:
                log.warning("the broker is away; this gate goes by what it kept on disk", why=str(error))
                await asyncio.sleep(1)

    def _packing(self, all_news: bool) -> Iterator[bytes] | None:
        """What to keep, once all of it is known."""
        return self._news.packing(all_news=all_news) if self.feed.filled.is_set() else None

    def _run(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(keep_going(name, loop, self.metrics), name=name))

    def _ending(self) -> bool:
        return self._stopping

    def _reported(self, report: GateReport) -> None:
        known = self.reach.twin
        self.reach.heard(report)
        if self.reach.twin and not known:
            words = "another gate has this one's name, so nobody knows which has taken a cut: set gate.replica"
            log.error(words, replica=self.replica)
        self.decider.windows.gates = self.reach.gates()

    async def _report(self, outbox: Outbox) -> None:
        """At once when something was taken, else every second."""
        while True:
            self._told.clear()
            try:
                await self._send_report(outbox)
            except (KafkaError, OSError) as error:
                log.warning("the broker does not take this gate's report", why=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), REPORT_EVERY_S)

    async def _send_report(self, outbox: Outbox, *, leaving: bool = False) -> None:
        report = GateReport(
            replica=self.replica, at_ms=wall_ms(), started_ms=self.started_ms, every_s=REPORT_EVERY_S,
            verdicts=self.feed.applied(Topic.VERDICTS), leaving=leaving,
        )  # fmt: skip
        self.reach.sent(report)
        await outbox.send(Topic.GATES, [(self.replica, report)])

    async def _expire(self) -> None:
        """And once an hour a whole garbage collection, which nothing else begins."""
        for turn in count(1):
            now_ms = wall_ms()
            self.decider.expire(now_ms, steady_ms())
            self._news.look(now_ms)
            if turn % _TURNS_PER_HOUR == 0:
                gc.collect()
            await asyncio.sleep(_EXPIRE_EVERY_S)

    def _problems(self) -> list[str]:
        """Why nobody should ask it yet. Without the broker it is still to be asked: it answers as `gate.fail` says."""
        if not self.feed.filled.is_set() and self._news.kept_ms is None:
            return ["the topics are still being read"]
        return []

    def _details(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "replica": self.replica, "reservations": len(self.decider.reservations), "gates": self.reach.gates(),
            "news_age_s": None if self.reach.age_s() is None else round(self.reach.age_s() or 0.0, 1),
            "broker": "away" if self.reach.away else "reached",
        }  # fmt: skip
        if self.reach.twin:
            found["twin"] = "another gate has this name: give each its own gate.replica"
        if self.reach.away and self.feed.problem:
            found["why"] = self.feed.problem
        if self._news.kept_ms is not None and not self.feed.filled.is_set():
            found["goes_by_what_was_kept_at"] = rfc3339(self._news.kept_ms)
        return found

    def _stale_s(self) -> float | None:
        """For answers: how old what they rest on is, while the broker is away."""
        if not self.reach.away:
            return None
        age_s = self.reach.age_s()
        return (wall_ms() - (self._news.kept_ms or self.started_ms)) / 1000 if age_s is None else age_s

    def _render(self) -> bytes:
        age_s = self.reach.age_s()
        age_s = (wall_ms() - self.started_ms) / 1000 if age_s is None else age_s
        self._shown = show(self.metrics, self.decider, self._shown, news_age_s=age_s)
        return self.metrics.render()
