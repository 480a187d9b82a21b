"""An install of three workers at most, with its broker, its store and its services, and the hand that breaks them."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.clock_shift import set_clock
from benchmarks.chaos.ends import Outage
from benchmarks.chaos.processes import Slot
from benchmarks.chaos.schedule import HOUR_S, WORKERS, Fault
from benchmarks.chaos.services import Services, services
from benchmarks.chaos.traffic import KEYS
from benchmarks.chaos.workers import Workers
from schemas.config.responses import CapsConfig, RetryConfig
from schemas.config.wiring import CommandsConfig, EvidenceConfig, KafkaConfig
from service.config_tree import Folder
from service.install import Install
from service.secrets import create_signing_key
from service.tansu import free_port
from service.worker import ROLES
from tests.brokers import Broker
from tests.integration.lives import write_folder
from tests.integration.servers import Gate
from tests.integration.spend import budgets_of
from tests.integration.world import ENVIRON, install
from tests.storage.clickhouse_process import ClickHouseProcess

PARTITIONS: Final = 4
_SESSION_S: Final = 3.0
_CHANNEL_TIMEOUT_S: Final = 6.0
_SIGNING_KEY: Final = "commands.pem"
_PREFIX: Final = f"chaos{secrets.token_hex(2)}."


@dataclass
class World:
    """`one` is the install as the harness reads it."""

    one: Install
    broker: Broker
    store: ClickHouseProcess
    door: Gate  # in front of the store
    services: Services
    workers: Workers
    directory: Path
    done: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)  # of broker and store, as they were
    _broker_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _store_turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def true_dsn(self) -> str:
        """Past the door."""
        return self.one.folder.wiring.store.dsn.replace(f":{self.door.port}/", f":{self.store.port}/")

    async def suffer(self, fault: Fault, until_s: float) -> None:
        """One fault, to its end. `until_s` is when the faults are over, by the loop's clock."""
        if fault.what == "SIGKILL" or fault.what == "SIGTERM":
            await self.workers.hit(int(fault.value), fault.what, until_s)
        elif fault.what == "SIGSTOP":
            await self.workers.pause(int(fault.value), fault.for_s)
        elif fault.what == "workers":
            self.workers.scale(int(fault.value))
        elif fault.what == "clock":
            self.workers.set_clock(int(fault.target.rpartition(" ")[2]), fault.value)
        else:
            await self._suffer_outside(fault, until_s)
        self.done[fault.what] += 1

    async def _suffer_outside(self, fault: Fault, until_s: float) -> None:
        if fault.what in ("broker stops", "broker is killed"):
            async with self._broker_turn:
                await self._without_broker(fault)
        elif fault.what.startswith("store"):
            async with self._store_turn:
                await self._without_store(fault)
        else:
            await self.services.weather(fault.target or "provider").storm(fault.for_s, until_s)

    async def _without_broker(self, fault: Fault) -> None:
        node = self.broker.node
        assert node is not None, "only Apache Kafka can be stopped and started"
        with self._noted(fault):
            await asyncio.to_thread(node.kill if fault.what == "broker is killed" else node.stop)
            try:
                await asyncio.sleep(fault.for_s)
            finally:
                await node.start()

    async def _without_store(self, fault: Fault) -> None:
        if fault.what == "store loses answers":
            await self.store.lose_answers(int(fault.value))
            return
        begin, end = self._away(fault)
        with self._noted(fault):
            await begin()
            try:
                await asyncio.sleep(fault.for_s)
            finally:
                await end()

    @contextmanager
    def _noted(self, fault: Fault) -> Iterator[None]:
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.outages.append(Outage(fault.what, began_s, time.monotonic()))

    def _away(self, fault: Fault) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
        """How it goes, and how it comes back."""

        async def hang() -> None:
            self.store.signal(signal.SIGSTOP)

        async def go_on() -> None:
            self.store.signal(signal.SIGCONT)

        async def die() -> None:
            self.store.signal(signal.SIGKILL)
            await asyncio.to_thread(self.store.stop)

        ways = {
            "store is unreachable": (self.door.shut, self.door.open),
            "store hangs": (hang, go_on),
            "store is killed": (die, self.store.start),
        }
        return ways[fault.what]


@asynccontextmanager
async def world(broker: Broker, directory: Path, seed: int) -> AsyncIterator[World]:
    """Everything but the workers runs."""
    async with AsyncExitStack() as stack:
        outside = await stack.enter_async_context(services(seed, KEYS))
        store = ClickHouseProcess(directory)
        stack.callback(store.stop)
        await store.start()
        door = await stack.enter_async_context(Gate(store.port))
        slots = [_slot(directory, number) for number in range(WORKERS)]
        dsn = f"clickhouse://keyfuse@127.0.0.1:{door.port}/chaos"
        installs = [_install(broker, slot, outside, dsn) for slot in slots]
        for one, slot in zip(installs, slots, strict=True):
            set_clock(slot.clock, 0.0)
            slot.log.touch()
            write_folder(one, slot.config)
        create_signing_key(directory / _SIGNING_KEY)
        workers = Workers(slots, ",".join(reversed(ROLES)), ENVIRON)
        stack.callback(workers.kill)
        yield World(installs[0], broker, store, door, outside, workers, directory)


def _slot(directory: Path, number: int) -> Slot:
    place = directory / str(number)
    (place / "config").mkdir(parents=True)
    (place / "data").mkdir()
    return Slot(place / "config", place / "clock", place / "worker.log", free_port())


def _install(broker: Broker, slot: Slot, outside: Services, dsn: str) -> Install:
    """What a team would have, but for limits that fit minutes instead of days."""
    retry = RetryConfig(attempts=20, wait_initial_s=0.1, wait_max_s=5, timeout_s=2, verify_s=20)

    def change(folder: Folder) -> Folder:
        wiring = folder.wiring
        kafka = KafkaConfig(
            bootstrap=broker.bootstrap, partitions=PARTITIONS, topic_prefix=_PREFIX, session_timeout_s=_SESSION_S
        )
        changes: dict[str, Any] = {
            "kafka": kafka,
            "data_dir": str(slot.config.parent / "data"),
            "intake": wiring.intake.model_copy(update={"port": slot.port}),
            # Two clocks may be two hours apart: an order must live longer than that.
            "commands": CommandsConfig(
                signing_key_file=str(slot.config.parents[1] / _SIGNING_KEY), max_age_s=4 * HOUR_S
            ),
            "evidence": EvidenceConfig(head_every_s=20),
        }
        # A busy machine may answer after some seconds: that is no lost answer of a channel.
        channel_changes = {"pictures": False, "timeout_s": _CHANNEL_TIMEOUT_S}
        channels = {
            name: channel.model_copy(update=channel_changes) for name, channel in folder.routes.channels.items()
        }
        return replace(
            folder,
            wiring=wiring.model_copy(update=changes),
            routes=folder.routes.model_copy(update={"channels": channels}),
            budgets=budgets_of(KEYS),
        )

    # No idle clock: the windows at the end are held against the traffic to the second.
    return install(
        broker, _PREFIX, slot.config.parent / "data", services=outside.board, sandbox_url=outside.provider.url,
        keys=KEYS, dsn=dsn, idle_s=3600, change=change, retry=retry,
        caps=CapsConfig(per_10min_keys=1000, per_day_share=1, freeze_share=1, freeze_min_keys=1000, cooldown_s=1),
    )  # fmt: skip
