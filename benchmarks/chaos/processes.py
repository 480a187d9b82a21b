"""`keyfuse worker` as a process.

Most are forked from a process that has imported everything, and run the command's own `main` from there on: a kill is
followed by a start within a second. Some are the installed command itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Literal

from benchmarks.chaos.clock_shift import VARIABLE, install
from benchmarks.chaos.ends import By, End, State, Told

KEYFUSE: Final = Path(sys.executable).parent / "keyfuse"
ROOT: Final = Path(__file__).parents[2]
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

    def __init__(self, running: BaseProcess | subprocess.Popen[bytes], log: Path, log_begins: int) -> None:
        assert running.pid is not None
        self.pid, self._running, self._log, self._log_begins = running.pid, running, log, log_begins
        self._was_up = False
        self.began_s = time.monotonic()
        self.told: list[Told] = []

    def exit_status(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._running.poll() if isinstance(self._running, subprocess.Popen) else self._running.exitcode

    def is_up(self) -> bool:
        """Whether it has said so."""
        self._was_up = self._was_up or _UP in self._words()
        return self._was_up

    def state(self) -> State:
        if self.told:
            return "while ending"
        return "at work" if self.is_up() else "while starting"

    def tell(self, by: By, name: Literal["SIGKILL", "SIGTERM"]) -> None:
        """To end. A second SIGTERM would say nothing new, and may come when nobody listens any more."""
        if name == "SIGTERM" and any(told.name == name for told in self.told):
            return
        self.told.append(Told(by, name, self.state()))
        self.signal(signal.Signals[name])

    def signal(self, sign: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, sign)

    def end(self) -> End:
        """As far as it has come."""
        lines = [line for line in self._words().decode(errors="replace").splitlines() if line.strip()]
        return End(
            self.exit_status(), self.is_up(), tuple(self.told), self.began_s, time.monotonic(),
            lines[-1][:300] if lines else "",
        )  # fmt: skip

    def _words(self) -> bytes:
        with self._log.open("rb") as file:
            file.seek(self._log_begins)
            return file.read()


def spawn(slot: Slot, roles: str, environ: Mapping[str, str], *, installed: bool) -> Process:
    """`installed`: the command as an operator would start it."""
    environ = {**os.environ, **environ, VARIABLE: str(slot.clock)}
    argv, log_begins = slot.command(roles), slot.log.stat().st_size
    if installed:
        environ["PYTHONPATH"] = f"{ROOT / 'benchmarks' / 'chaos' / 'shifted'}:{ROOT}"
        with slot.log.open("ab") as log:
            command = [str(KEYFUSE), *argv[1:]]
            return Process(subprocess.Popen(command, env=environ, stdout=log, stderr=log), slot.log, log_begins)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.up", "service.worker", __name__])
    forked = context.Process(target=_program, args=(argv, environ, slot.log), daemon=True)
    forked.start()
    return Process(forked, slot.log, log_begins)


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
