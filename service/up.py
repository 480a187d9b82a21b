"""`keyfuse up` and `keyfuse worker`: until a signal says otherwise."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from service.errors import UserError
from service.install import Install, Running
from service.leave import run_and_leave
from service.logs import configure_logging
from service.tansu import Tansu
from service.warm_up_file import begin_warm
from service.watchdog import EXIT_STUCK
from service.worker import ROLES, Worker

log = structlog.get_logger()


def main(config: Path, *, roles: Sequence[str] = ROLES) -> None:
    """Everything in one process, or the roles named."""
    configure_logging()
    for chatty in ("streams.faust_engine", "faust", "mode", "aiokafka", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    install = Install.open(config)
    if Running.find(install.data_dir) is not None and tuple(roles) == ROLES:
        raise UserError(f"something runs in {install.data_dir} already; stop it first")
    _check_roles(install, roles)
    if code := run_and_leave(_run(install, roles)):
        raise SystemExit(code)


def _check_roles(install: Install, roles: Sequence[str]) -> None:
    """What can be known before anything is started."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise UserError(f"--role {','.join(unknown) or 'nothing'}: expected some of {', '.join(ROLES)}")
    if {"ingest", "http"} & set(roles):
        install.fingerprinter()
    if "contain" in roles and "decide" not in roles:
        install.trust(own="")
    if "decide" in roles and "contain" not in roles:
        install.order_signer(make=False)


async def _run(install: Install, roles: Sequence[str]) -> int:
    """The exit code: `EXIT_STUCK` where it ends because a stage stands still."""
    stop, running = asyncio.Event(), None
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    try:
        async with broker(install, roles) as bootstrap:
            if install.folder.wiring.kafka.bootstrap == "embedded":
                await begin_warm(install, bootstrap)
            worker = Worker(install, bootstrap, roles)
            try:
                await worker.start()
                if tuple(roles) == ROLES:
                    running = Running(bootstrap, worker.url, os.getpid())
                    running.write(install.data_dir)
                mode = install.folder.responses.mode
                log.info("keyfuse is up", roles=",".join(roles), intake=worker.url, kafka=bootstrap, mode=mode)
                waits = [asyncio.create_task(event.wait()) for event in (stop, worker.stuck)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
                log.info("stopping", stuck=worker.stuck.is_set())
            finally:
                await worker.stop()
            return EXIT_STUCK if worker.stuck.is_set() else 0
    finally:
        if running is not None:  # another process's note is not ours to remove
            Running.path(install.data_dir).unlink(missing_ok=True)


@asynccontextmanager
async def broker(install: Install, roles: Sequence[str]) -> AsyncIterator[str]:
    """The configured broker's address, or an embedded one for as long as the context lasts."""
    bootstrap = install.folder.wiring.kafka.bootstrap
    if bootstrap != "embedded":
        yield bootstrap
        return
    if tuple(roles) != ROLES:
        raise UserError("roles need a broker that several processes reach: set kafka.bootstrap in keyfuse.yaml")
    async with Tansu(log_path=install.data_dir / "tansu.log") as tansu:
        yield tansu.bootstrap
