"""A gate's loops besides its answers: borrow slices of budgets, and keep on disk what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from gate.kept import Place
from gate.lease import Borrower
from gate.memory import sealed
from gate.savings import Savings
from schemas.lease import LeaseAsk
from service.clocks import steady_ms
from service.gate_memory import GateMemory
from service.install import Install, wall_ms
from streams.lease_log import readable
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

_LOOK_EVERY_S: Final = 0.05
_KEEP_EVERY_S: Final = 5.0
_ALL_NEWS_EVERY: Final = 12
_BEGIN_AGAIN_S: Final = 1.0
_TELL_EVERY_S: Final = 1.0
log = structlog.get_logger()


def state_dir(install: Install, replica: str) -> Path:
    """Of one replica: several on one machine have a folder each."""
    base = install.folder.wiring.gate.state_dir
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in replica)
    return (Path(base) if base else install.data_dir / "gate") / safe


def hears(borrower: Borrower) -> Callable[[bytes | None, Place], None]:
    """Takes the records of lenders."""

    def take(value: bytes | None, _: Place) -> None:
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


async def keep(memory: GateMemory, pack: Callable[[bool], Iterator[bytes] | None]) -> None:
    """Write what `pack` gives, from time to time; None: nothing is new. It is asked once a minute for all news.

    A hundred thousand keys take more than a second: calls are answered meanwhile.
    """
    for turn in count(1):
        await asyncio.sleep(_KEEP_EVERY_S)
        pieces = pack(turn % _ALL_NEWS_EVERY == 0)
        if pieces is None:
            continue
        at_ms, kept = wall_ms(), list[bytes]()
        for piece in pieces:
            kept.append(piece)
            await asyncio.sleep(0)
        try:
            await asyncio.to_thread(_seal_and_write, memory, kept, at_ms)
        except OSError as error:
            log.warning("the gate cannot keep what it knows; a restart needs the broker", why=str(error))


def _seal_and_write(memory: GateMemory, pieces: list[bytes], at_ms: int) -> None:
    memory.write(sealed(pieces, at_ms))


async def keep_going(name: str, loop: Callable[[], Awaitable[None]], metrics: Metrics) -> None:
    """A loop that fails begins again: a gate must not go on for days without news, or without slices of budgets."""
    while True:
        try:
            return await loop()
        except Exception:
            log.exception("a loop of the gate failed; it begins again", loop=name)
            metrics.inc("keyfuse_retries_total", where=name)
            await asyncio.sleep(_BEGIN_AGAIN_S)


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
