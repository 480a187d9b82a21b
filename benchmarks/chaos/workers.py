"""`keyfuse worker` as processes: started, killed, stopped for a while, started again as a supervisor would.

Most are forked from a process that has imported everything, and run the command's own `main` from there on: a kill is
followed by a start within a second. Each fifth is the installed command itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from benchmarks.chaos.clock_shift import VARIABLE, install, set_clock
from tests.integration.world import until

KEYFUSE: Final = Path(sys.executable).parent / "keyfuse"
ROOT: Final = Path(__file__).parents[2]
_INSTALLED_EVERY: Final = 5
_AGAIN_AFTER_S: Final = 0.3
_PATIENCE_S: Final = 3600.0
_UP: Final = b"keyfuse is up"


@dataclass(frozen=True)
class Slot:
    """Where one worker runs: its configuration folder, its clock, its intake."""

    config: Path
    clock: Path
    log: Path
    port: int

    def command(self, roles: str) -> list[str]:
        return ["keyfuse", "worker", "--role", roles, "--config", str(self.config)]


class Process:
    """One process of one of the two kinds."""

    def __init__(self, running: BaseProcess | subprocess.Popen[bytes], log: Path) -> None:
        assert running.pid is not None
        self.pid, self._running, self._log = running.pid, running, log
        self._log_begins = log.stat().st_size

    def exit_status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._running.poll() if isinstance(self._running, subprocess.Popen) else self._running.exitcode

    def is_up(self) -> bool:
        """Whether it has said so."""
        with self._log.open("rb") as file:
            file.seek(self._log_begins)
            return _UP in file.read()

    def signal(self, sign: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, sign)


@dataclass
class Workers:
    """A supervisor: as many as wanted run, whatever ends them."""

    slots: Sequence[Slot]
    roles: str
    environ: Mapping[str, str]
    wanted: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _running: dict[int, Process] = field(default_factory=dict)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _hitting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def start(self, wanted: int) -> None:
        self.wanted = wanted
        self._loops = [asyncio.create_task(self._supervise(n), name=f"worker {n}") for n in range(len(self.slots))]

    def scale(self, wanted: int) -> None:
        """The others are asked to leave, or come."""
        self.counts["asked to join or leave"] += abs(wanted - self.wanted)
        self.wanted = wanted
        for number in range(wanted, len(self.slots)):
            if number in self._running:
                self._running[number].signal(signal.SIGTERM)

    def up(self) -> list[Process]:
        """Those that have said that they are up."""
        return [process for process in self._running.values() if process.is_up()]

    async def hit(self, rank: int, sign: signal.Signals, until_s: float) -> None:
        """One that is up; by `until_s` of the loop's clock any that runs."""
        async with self._hitting:
            now_s = asyncio.get_running_loop().time
            await _until(lambda: bool(self._running) and (bool(self.up()) or now_s() > until_s))
            up = self.up()
            chosen = up or list(self._running.values())
            self.counts[f"{sign.name}, {'at work' if up else 'while starting'}"] += 1
            process = chosen[rank % len(chosen)]
            process.signal(sign)
            if sign is signal.SIGKILL:
                await _until(partial(_has_ended, process))

    async def pause(self, rank: int, for_s: float) -> None:
        """Standing still, and then going on as if nothing had been."""
        await _until(lambda: bool(self._running))
        process = list(self._running.values())[rank % len(self._running)]
        process.signal(signal.SIGSTOP)
        self.counts["SIGSTOP"] += 1
        try:
            await asyncio.sleep(for_s)
        finally:
            process.signal(signal.SIGCONT)

    def set_clock(self, number: int, off_s: float) -> None:
        set_clock(self.slots[number].clock, off_s)

    async def stop(self) -> list[int]:
        """SIGTERM to all; how they ended."""
        self.wanted = 0
        running = list(self._running.values())
        for process in running:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        await asyncio.wait(self._loops, timeout=60)
        statuses = [process.exit_status() for process in running]
        self.kill()
        return [status if status is not None else 999 for status in statuses]

    def kill(self) -> None:
        """Whatever is left."""
        for loop in self._loops:
            loop.cancel()
        for process in self._running.values():
            process.signal(signal.SIGKILL)

    async def _supervise(self, number: int) -> None:
        while True:
            await _until(lambda: number < self.wanted or not self.wanted)
            if not self.wanted:
                return
            process = self._running[number] = self._spawn(self.slots[number])
            await _until(partial(_has_ended, process))
            del self._running[number]
            self.counts[f"ended with {process.exit_status()}"] += 1
            await asyncio.sleep(_AGAIN_AFTER_S)

    def _spawn(self, slot: Slot) -> Process:
        self.counts["processes"] += 1
        environ = {**os.environ, **self.environ, VARIABLE: str(slot.clock)}
        argv = slot.command(self.roles)
        if self.counts["processes"] % _INSTALLED_EVERY == 0:
            environ["PYTHONPATH"] = f"{ROOT / 'benchmarks' / 'chaos' / 'shifted'}:{ROOT}"
            with slot.log.open("ab") as log:
                return Process(
                    subprocess.Popen([str(KEYFUSE), *argv[1:]], env=environ, stdout=log, stderr=log), slot.log
                )
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["service.up", "service.worker", __name__])
        forked = context.Process(target=_program, args=(argv, environ, slot.log), daemon=True)
        forked.start()
        return Process(forked, slot.log)


def _has_ended(process: Process) -> bool:
    return process.exit_status() is not None


async def _until(condition: Callable[[], bool]) -> None:
    await until(condition, "the run is over long ago", patience_s=_PATIENCE_S)


def _program(argv: list[str], environ: dict[str, str], log: Path) -> None:
    """The installed command in a process that has imported everything already."""
    os.environ.update(environ)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    install(environ[VARIABLE])
    signal.set_wakeup_fd(-1)
    sys.argv = argv
    runpy.run_path(str(KEYFUSE), run_name="__main__")
