"""The worker as a process of its own that says how far it is, to be killed.

Processes are forked from one that has imported everything already: a kill is followed by a start within a second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from service.config_folder import load_folder
from service.install import Install
from service.logs import configure_logging
from service.worker import ROLES, Worker
from tests.integration.world import ENVIRON

_SAY_EVERY_S = 0.01


class Progress(NamedTuple):
    """How far the newest partition's clock is, in epoch seconds, and how many rows the process has taken up."""

    clock_s: int
    scored: int


def start_worker(config: Path, log: Path) -> tuple[BaseProcess, Connection]:
    """A new process with all stages but the HTTP intake; its Progress comes through the connection."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    hears, says = context.Pipe(duplex=False)
    process = context.Process(target=_program, args=(config, log, says), daemon=True)
    process.start()
    says.close()
    return process, hears


def _program(config: Path, log: Path, says: Connection) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    configure_logging(level="WARNING")
    asyncio.run(_main(config, says))


async def _main(config: Path, says: Connection) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    install = Install(load_folder(config), config, ENVIRON)
    worker = Worker(install, install.folder.wiring.kafka.bootstrap, [role for role in ROLES if role != "http"])
    await worker.start()
    while not stop.is_set():
        says.send(Progress(max((core.clock_s for core in worker.score.cores()), default=0), worker.score.scored))
        await asyncio.sleep(_SAY_EVERY_S)
    await worker.stop()
