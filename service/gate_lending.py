"""A gate's loops besides its answers: borrow slices of budgets, and keep on disk what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from gate.lease import Borrower
from gate.savings import Savings
from schemas.lease import LeaseAsk
from service.clocks import steady_ms
from service.gate_memory import GateMemory
from service.install import Install, wall_ms
from streams.lease_log import readable
from streams.outbox import Outbox
from streams.topics import Topic

_LOOK_EVERY_S: Final = 0.05
_KEEP_EVERY_S: Final = 5.0
_TELL_EVERY_S: Final = 1.0
log = structlog.get_logger()


def state_dir(install: Install, replica: str) -> Path:
    """Of one replica: several on one machine have a folder each."""
    base = install.folder.wiring.gate.state_dir
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in replica)
    return (Path(base) if base else install.data_dir / "gate") / safe


def hears(borrower: Borrower) -> Callable[[bytes | None, bytes | None], None]:
    """Takes the records of lenders."""

    def take(_: bytes | None, value: bytes | None) -> None:
        record = readable(value)
        if record is not None and record.type != "pot":
            borrower.heard(record)

    return take


async def borrow(borrower: Borrower, outbox: Outbox) -> None:
    """Ask when it is time. No call waits for this: what is not lent is not there."""
    while True:
        ask = borrower.ask(steady_ms())
        if ask is not None:
            try:
                await _send(outbox, ask)
            except (KafkaError, OSError) as error:
                log.warning("the broker does not take this gate's ask for slices of budgets", why=str(error))
        await asyncio.sleep(_LOOK_EVERY_S)


async def give_back(borrower: Borrower, outbox: Outbox) -> None:
    """The last word of this start: nothing it holds stays missing."""
    await _send(outbox, borrower.farewell(steady_ms()))


async def keep(memory: GateMemory, pack: Callable[[], bytes | None]) -> None:
    """Write what `pack` gives, from time to time; None: nothing is new."""
    while True:
        await asyncio.sleep(_KEEP_EVERY_S)
        data = pack()
        if data is not None:
            try:
                await asyncio.to_thread(memory.write, data)
            except OSError as error:
                log.warning("the gate cannot keep what it knows; a restart needs the broker", why=str(error))


async def tell_savings(savings: Savings, outbox: Outbox) -> None:
    """What cheaper models saved; what the broker does not take is told later."""
    while True:
        grown = savings.take_grown(wall_ms())
        try:
            await outbox.send(Topic.SAVINGS, [(each.name, each) for each in grown])
        except (KafkaError, OSError) as error:
            savings.give_back(grown)
            log.warning("the broker does not take what was saved; it is told later", why=str(error))
        await asyncio.sleep(_TELL_EVERY_S)


async def _send(outbox: Outbox, ask: LeaseAsk) -> None:
    await outbox.send(Topic.LEASE_ASKS, [(ask.replica, ask)])
