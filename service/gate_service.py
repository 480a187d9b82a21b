"""One gate replica: what it knows, what it answers, what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, Final, TypeVar

import structlog
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from controls.expected import turned
from gate.budgets import AloneSlices
from gate.check import PATH
from gate.checks import Checks
from gate.decide import Decider
from gate.http import Listener
from gate.known import Known
from gate.ports import Reached
from gate.reservations import Reservations
from gate.savings import Savings
from gate.server import Edge, GateServer
from schemas.exception import PolicyException
from schemas.gate_report import GateReport
from schemas.key_record import KeyRecord
from schemas.records import Record
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict
from service.config_tree import Folder
from service.gate_feed import GateFeed, Take
from service.gate_metrics import show
from service.gate_planes import planes_of
from service.install import Install, wall_ms
from service.reload import follow_folder
from service.secrets import resolve
from sources.pricing import PriceBook
from streams.kafka import create_topics, producer, wait_for_broker
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

REPORT_EVERY_S: Final = 1.0
_EXPIRE_EVERY_S: Final = 0.5
_TURNS_PER_HOUR: Final = 7200
_R = TypeVar("_R", bound=Record)
log = structlog.get_logger()


def tick_ms() -> int:
    """A clock that never jumps: for windows and reservations."""
    return time.monotonic_ns() // 1_000_000


class GateService:
    """Start it, wait, stop it."""

    def __init__(self, install: Install, bootstrap: str, *, port: int | None = None) -> None:
        gate = install.folder.wiring.gate
        self.install, self.bootstrap, self.metrics = install, bootstrap, Metrics()
        port = gate.port if port is None else port
        self.replica = gate.replica or f"{socket.gethostname()}:{port}"
        self.started_ms = wall_ms()
        self.known, self._prices = Known(install.folder.keys), PriceBook().per_token
        self.decider = Decider(
            self.known, planes_of(install.folder, at_ms=self.started_ms),
            slices=AloneSlices(self.known.status), reach=Reached(), prices=self._prices,
            reservations=Reservations(f"{self.replica}/{self.started_ms:x}-", hold_ms=gate.reservation_s * 1000),
        )  # fmt: skip
        self.savings = Savings(self.decider, self.known, self._prices, gate=f"{self.replica}/{self.started_ms:x}")
        self._told = asyncio.Event()
        self._exceptions: dict[str, PolicyException] = {}
        self._newer_rules = False
        self._shown: Counter[str] = Counter()
        self.feed = GateFeed(
            bootstrap, install.topics, self._takers(), timing=install.timing, progressed=self._progressed
        )
        token = resolve(gate.token_env, "", environ=install.environ, what="gate token")
        self.server = GateServer(
            Edge(
                self.savings, install.fingerprinter().of, wall_ms, tick_ms, token, self._problems, self._render,
                self._details,
            )
        )  # fmt: skip
        self.server.beneath(PATH.encode(), Checks(self.server.edge).answer)
        self._http = Listener(self.server, host=gate.host, port=port)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def start(self) -> None:
        """Returns when it has read all there is and answers."""
        install = self.install
        await wait_for_broker(self.bootstrap)
        factor = install.folder.wiring.kafka.replication_factor
        await create_topics(self.bootstrap, install.topics.specs(), replication_factor=factor)
        self._sender = producer(self.bootstrap)
        await self._sender.start()
        self._outbox = Outbox(self._sender, install.topics)
        self._run(self.feed.run(self._ending))
        await self.feed.filled.wait()
        self._run(self._report())
        self._run(self._expire())
        self._run(self._tell_savings())
        self._run(follow_folder(install, self.metrics, changed=self._reloaded, stopping=self._ending))
        self.url = await self._http.start()

    async def stop(self) -> None:
        """Answers what it has accepted, says that it leaves, and ends."""
        self._stopping = True
        await self._http.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(self._send_report(leaving=True), 2)
        except (TimeoutError, KafkaError, OSError):
            log.warning("the broker does not take this gate's leave; its last report will count as silence")
        await self._sender.stop()

    def _run(self, loop: Any) -> None:  # noqa: ANN401 - any coroutine
        self._tasks.append(asyncio.create_task(loop))

    def _ending(self) -> bool:
        return self._stopping

    def _reloaded(self, folder: Folder) -> None:
        self.known.registered(folder.keys)
        self._rule(folder)

    def _rule(self, folder: Folder) -> None:
        """By what the folder and the exceptions say now."""
        self.decider.planes = planes_of(folder, self._exceptions.values(), at_ms=wall_ms())

    def _excepted(self, exception: PolicyException) -> None:
        self._exceptions[exception.exception_id] = exception
        self._newer_rules = True

    def _progressed(self) -> None:
        """At the end of a batch: rules are worked out once, however many exceptions it brought."""
        if self._newer_rules:
            self._newer_rules = False
            self._rule(self.install.folder)
        self._told.set()

    def _takers(self) -> dict[Topic, Take]:
        return {
            Topic.VERDICTS: self._reads(GateVerdict, Topic.VERDICTS, self.known.judged),
            Topic.KEYS: self._reads(KeyRecord, Topic.KEYS, self.known.record),
            Topic.EXCEPTIONS: self._reads(PolicyException, Topic.EXCEPTIONS, self._excepted),
            Topic.BUDGETS: self._reads(BudgetStatus, Topic.BUDGETS, self.known.stands),
        }

    def _reads(self, kind: type[_R], topic: Topic, take: Callable[[_R], object]) -> Take:
        """A tombstone takes nothing back: a deny does not end by silence."""

        def read(_: bytes | None, value: bytes | None) -> None:
            try:
                if value is not None:
                    take(kind.from_bytes(value))
            except ValidationError:
                self.metrics.inc("keyfuse_gate_unread_total", topic=topic.value)
                log.warning("a record that the gate cannot read; what it knew stays", topic=topic.value)

        return read

    async def _report(self) -> None:
        """At once when something was taken, else every second."""
        while True:
            self._told.clear()
            try:
                await self._send_report()
            except (KafkaError, OSError) as error:
                log.warning("the broker does not take this gate's report", why=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), REPORT_EVERY_S)

    async def _send_report(self, *, leaving: bool = False) -> None:
        report = GateReport(
            replica=self.replica, at_ms=wall_ms(), started_ms=self.started_ms, every_s=REPORT_EVERY_S,
            verdicts=self.feed.applied(Topic.VERDICTS), leaving=leaving,
        )  # fmt: skip
        await self._outbox.send(Topic.GATES, [(self.replica, report)])

    async def _tell_savings(self) -> None:
        while True:
            grown = self.savings.take_grown(wall_ms())
            try:
                await self._outbox.send(Topic.SAVINGS, [(each.name, each) for each in grown])
            except (KafkaError, OSError) as error:
                self.savings.give_back(grown)
                log.warning("the broker does not take what was saved; it is told later", why=str(error))
            await asyncio.sleep(REPORT_EVERY_S)

    async def _expire(self) -> None:
        """And once an hour a whole garbage collection, which nothing else begins."""
        looked_ms = wall_ms()
        for turn in count(1):
            now_ms = wall_ms()
            self.decider.expire(now_ms, tick_ms())
            if turned(self._exceptions.values(), looked_ms, now_ms):
                self._rule(self.install.folder)
            looked_ms = now_ms
            if turn % _TURNS_PER_HOUR == 0:
                gc.collect()
            await asyncio.sleep(_EXPIRE_EVERY_S)

    def _problems(self) -> list[str]:
        if not self.feed.filled.is_set():
            return ["the topics are still being read"]
        return [self.feed.problem] if self.feed.problem else []

    def _details(self) -> dict[str, Any]:
        return {"replica": self.replica, "reservations": len(self.decider.reservations)}

    def _render(self) -> bytes:
        self._shown = show(self.metrics, self.decider, self._shown)
        return self.metrics.render()
