"""One gate replica: what it knows, what it answers, what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import socket
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from controls.expected import turned
from gate.check import PATH
from gate.checks import Checks
from gate.decide import Decider
from gate.http import Listener
from gate.known import Known
from gate.lease import Borrower
from gate.leased import LeasedSlices
from gate.memory import Remembered, packing, sealed
from gate.reach import BrokerReach
from gate.reservations import Reservations
from gate.savings import Savings
from gate.server import Edge, GateServer
from schemas.exception import PolicyException
from schemas.gate_report import GateReport
from schemas.key_record import KeyRecord
from schemas.records import Record, rfc3339
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict
from service.clocks import steady_ms
from service.config_tree import Folder
from service.gate_feed import GateFeed, Take
from service.gate_lending import borrow, give_back, hears, keep, keep_going, state_dir, tell_savings
from service.gate_memory import GateMemory
from service.gate_metrics import show
from service.gate_planes import planes_of
from service.install import Install, wall_ms
from service.reload import follow_folder
from service.secrets import resolve
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
_R = TypeVar("_R", bound=Record)
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
        self.borrower = Borrower(self.replica, f"{self.started_ms:x}-{secrets.token_hex(4)}")
        self.slices = LeasedSlices(self.borrower, self.known.status, tick_ms=steady_ms)
        self.reach = BrokerReach(
            self.replica, self.started_ms, settings=lambda: self.decider.planes.settings, tick_ms=steady_ms
        )
        self.memory = GateMemory(state_dir(install, self.replica))
        self.decider = Decider(
            self.known, planes_of(install.folder, at_ms=self.started_ms), slices=self.slices, reach=self.reach,
            prices=self._prices,
            reservations=Reservations(f"{self.replica}/{self.started_ms:x}-", hold_ms=gate.reservation_s * 1000),
        )  # fmt: skip
        self.savings = Savings(self.decider, self.known, self._prices, gate=f"{self.replica}/{self.started_ms:x}")
        self.slices.watch(install.folder.budgets.budgets)
        self._told = asyncio.Event()
        self._heard = False  # something since the last report
        self._news = self._stood = False  # verdicts, keys, exceptions; budgets: since they were kept on disk
        self._kept_ms: int | None = None  # when what it read from its disk was written
        self._sender: AIOKafkaProducer | None = None
        self._outbox: Outbox | None = None
        self._exceptions: dict[str, PolicyException] = {}
        self._newer_rules = False
        self._shown: Counter[str] = Counter()
        self.feed = GateFeed(
            bootstrap, install.topics, self._takers(), timing=install.timing, progressed=self._progressed
        )
        token = resolve(gate.token_env, "", environ=install.environ, what="gate token")
        self.server = GateServer(
            Edge(
                self.savings, install.fingerprinter().of, wall_ms, steady_ms, token, self._problems, self._render,
                self._details, self._stale_s, self._failed,
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
            self._recall(remembered)
            self._run("connect", self._connect_at_last)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.feed.filled.wait(), self._patience_s)
        self._run("expire", self._expire)
        self._run("keep", lambda: keep(self.memory, self._packing))
        self._run(
            "folder",
            lambda: follow_folder(self.install, self.metrics, changed=self._reloaded, stopping=self._ending),
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

    def _recall(self, remembered: Remembered) -> None:
        for verdict in remembered.verdicts:
            self.known.judged(verdict)
        for record in remembered.records:
            self.known.record(record)
        for status in remembered.statuses:
            self.known.stands(status)
        self._exceptions = {each.exception_id: each for each in remembered.exceptions}
        self._newer_rules = True
        self._progressed()
        self._kept_ms = remembered.at_ms

    def _packing(self, all_news: bool) -> Iterator[bytes] | None:
        """What to keep, if something is new and all of it is known. Where budgets stand is always new, and can wait."""
        if not (self._news or (all_news and self._stood)) or not self.feed.filled.is_set():
            return None
        self._news = self._stood = False
        return packing(self.known, self._exceptions.values())

    def _run(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(keep_going(name, loop, self.metrics), name=name))

    def _ending(self) -> bool:
        return self._stopping

    def _reloaded(self, folder: Folder) -> None:
        self.known.registered(self.install.registry)
        self._rule(folder)

    def _rule(self, folder: Folder) -> None:
        """By what the folder and the exceptions say now."""
        self.decider.planes = planes_of(folder, self._exceptions.values(), at_ms=wall_ms())
        self.slices.watch(folder.budgets.budgets)

    def _excepted(self, exception: PolicyException) -> None:
        self._exceptions[exception.exception_id] = exception
        self._newer_rules = True

    def _progressed(self) -> None:
        """At the end of a batch: rules are worked out once, however many exceptions it brought."""
        if self._newer_rules:
            self._newer_rules = False
            self._rule(self.install.folder)
        if self._heard:  # not a report of a gate, or reports would beget reports
            self._heard = False
            self._told.set()

    def _takers(self) -> dict[Topic, Take]:
        return {
            Topic.VERDICTS: self._reads(GateVerdict, Topic.VERDICTS, self.known.judged),
            Topic.KEYS: self._reads(KeyRecord, Topic.KEYS, self.known.record),
            Topic.EXCEPTIONS: self._reads(PolicyException, Topic.EXCEPTIONS, self._excepted),
            Topic.BUDGETS: self._reads(BudgetStatus, Topic.BUDGETS, self.known.stands),
            Topic.LEASES: hears(self.borrower),
            Topic.GATES: self._reads(GateReport, Topic.GATES, self._reported),
        }

    def _reads(self, kind: type[_R], topic: Topic, take: Callable[[_R], object]) -> Take:
        """A tombstone takes nothing back: a deny does not end by silence."""

        def read(_: bytes | None, value: bytes | None) -> None:
            self._heard |= topic is not Topic.GATES
            self._stood |= topic is Topic.BUDGETS
            self._news |= topic not in {Topic.GATES, Topic.BUDGETS}
            try:
                if value is not None:
                    take(kind.from_bytes(value))
            except ValidationError:
                self.metrics.inc("keyfuse_gate_unread_total", topic=topic.value)
                log.warning("a record that the gate cannot read; what it knew stays", topic=topic.value)

        return read

    def _reported(self, report: GateReport) -> None:
        known = self.reach.twin
        self.reach.heard(report)
        if self.reach.twin and not known:
            log.error(
                "another gate has this one's name, so nobody knows which has taken a cut: set gate.replica",
                replica=self.replica,
            )
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
        looked_ms = wall_ms()
        for turn in count(1):
            now_ms = wall_ms()
            self.decider.expire(now_ms, steady_ms())
            if turned(self._exceptions.values(), looked_ms, now_ms):
                self._rule(self.install.folder)
            looked_ms = now_ms
            if turn % _TURNS_PER_HOUR == 0:
                gc.collect()
            await asyncio.sleep(_EXPIRE_EVERY_S)

    def _problems(self) -> list[str]:
        """Why nobody should ask it yet. Without the broker it is still to be asked: it answers as `gate.fail` says."""
        if not self.feed.filled.is_set() and self._kept_ms is None:
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
        if self._kept_ms is not None and not self.feed.filled.is_set():
            found["goes_by_what_was_kept_at"] = rfc3339(self._kept_ms)
        return found

    def _stale_s(self) -> float | None:
        """For answers: how old what they rest on is, while the broker is away."""
        if not self.reach.away:
            return None
        age_s = self.reach.age_s()
        return (wall_ms() - (self._kept_ms or self.started_ms)) / 1000 if age_s is None else age_s

    def _failed(self, error: Exception) -> None:
        """Never what the error says: that may be of a client's."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        self.metrics.inc("keyfuse_gate_failed_total")
        log.error("the gate cannot judge a call", why=type(error).__name__, where=f"{where.name}:{where.lineno}")

    def _render(self) -> bytes:
        self._shown = show(self.metrics, self.decider, self._shown)
        age_s = self.reach.age_s()
        self.metrics.set(
            "keyfuse_gate_news_age_seconds", (wall_ms() - self.started_ms) / 1000 if age_s is None else age_s
        )
        return self.metrics.render()
