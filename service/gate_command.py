"""`keyfuse gate`: until a signal says otherwise."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import structlog

from service.errors import UserError
from service.gate_service import GateService
from service.install import Install, Running
from service.logs import configure_logging
from service.settled_memory import GATE, settle_memory

try:
    from uvloop import new_event_loop
except ImportError:  # Windows has none; asyncio's own costs twice the processor time
    _NEW_LOOP: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    _NEW_LOOP = new_event_loop
log = structlog.get_logger()


def main(config: Path, *, port: int | None) -> None:
    """One replica. UserError where it cannot be reached by anybody, or reach a broker."""
    configure_logging()
    for chatty in ("aiokafka", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    install = Install.open(config)
    with asyncio.Runner(loop_factory=_NEW_LOOP) as runner:
        runner.run(_run(install, _bootstrap(install), port))


def _bootstrap(install: Install) -> str:
    """The embedded broker is that of `keyfuse up` on this machine."""
    bootstrap = install.folder.wiring.kafka.bootstrap
    if bootstrap != "embedded":
        return bootstrap
    running = Running.find(install.data_dir)
    if running is None:
        raise UserError("no broker: start `keyfuse up` first, or name one in kafka.bootstrap of keyfuse.yaml")
    return running.bootstrap


async def _run(install: Install, bootstrap: str, port: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    gate = GateService(install, bootstrap, port=port)
    try:
        await gate.start()
        settle_memory(*GATE)
        log.info("gate is up", replica=gate.replica, url=gate.url, kafka=bootstrap)
        await stop.wait()
        log.info("stopping")
    finally:
        await gate.stop()
