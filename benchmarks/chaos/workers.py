"""A supervisor of worker processes: as many as wanted run, whatever ends them, and how each ended is kept."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from benchmarks.chaos.clock_shift import set_clock
from benchmarks.chaos.ends import CANNOT_START, End
from benchmarks.chaos.processes import Process, Slot, spawn
from tests.integration.world import until

_INSTALLED_EVERY: Final = 5
_AGAIN_AFTER_S: Final = 0.3
_AGAIN_AT_MOST_S: Final = 5.0
_MOST_WAITING: Final = 4
"""Faults that wait for a worker at work: up to three come together. With more, who is still starting is hit."""
_PATIENCE_S: Final = 3600.0
_END_S: Final = 120.0


@dataclass
class Workers:
    """`ends` are of all processes that have ended; `moments_s` when one came, went, stood still or went on."""

    slots: Sequence[Slot]
    roles: str
    environ: Mapping[str, str]
    wanted: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    ends: list[End] = field(default_factory=list)
    moments_s: list[float] = field(default_factory=list)
    _running: dict[int, Process] = field(default_factory=dict)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _hitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    def start(self, wanted: int) -> None:
        self.wanted = wanted
        self._loops = [asyncio.create_task(self._supervise(n), name=f"worker {n}") for n in range(len(self.slots))]

    def scale(self, wanted: int) -> None:
        """The others are asked to leave, or come."""
        self.counts["asked to join or leave"] += abs(wanted - self.wanted)
        self.wanted = wanted
        for number in range(wanted, len(self.slots)):
            if number in self._running:
                self._running[number].tell("its supervisor", "SIGTERM")

    def up(self) -> list[Process]:
        """Those that have said that they are up."""
        return [process for process in self._running.values() if process.is_up()]

    async def hit(self, rank: int, name: Literal["SIGKILL", "SIGTERM"], until_s: float) -> None:
        """One that no fault has hit yet, at work if it can be waited for; by `until_s` of the loop's clock any."""
        self._waiting += 1
        try:
            async with self._hitting:
                await _until(lambda: bool(self._targets(name, until_s)))
                targets = self._targets(name, until_s)
                process = targets[rank % len(targets)]
                process.tell("a fault", name)
                if name == "SIGKILL":
                    await _until(partial(_has_ended, process))
        finally:
            self._waiting -= 1

    def _targets(self, name: str, until_s: float) -> list[Process]:
        """A second signal to the same process would count a fault that changed nothing; but who was told to leave may
        be killed on the way.
        """
        fresh = [
            process
            for process in self._running.values()
            if not _has_ended(process) and not any(told.by == "a fault" or told.name == name for told in process.told)
        ]
        hurried = self._waiting > _MOST_WAITING or asyncio.get_running_loop().time() > until_s
        return [process for process in fresh if process.is_up()] or (fresh if hurried else [])

    async def pause(self, rank: int, for_s: float) -> None:
        """Standing still, and then going on as if nothing had been."""
        await _until(lambda: bool(self._running))
        process = list(self._running.values())[rank % len(self._running)]
        process.signal(signal.SIGSTOP)
        self._happens()
        self.counts["SIGSTOP"] += 1
        try:
            await asyncio.sleep(for_s)
        finally:
            process.signal(signal.SIGCONT)
            self._happens()

    def set_clock(self, number: int, off_s: float) -> None:
        set_clock(self.slots[number].clock, off_s)

    async def stop(self) -> None:
        """SIGTERM to all; returns when they have ended, or it has been waited for long enough."""
        self.wanted = 0
        for process in self._running.values():
            process.signal(signal.SIGCONT)
            process.tell("its supervisor", "SIGTERM")
        await asyncio.wait(self._loops, timeout=_END_S)
        self.ends += [process.end() for process in self._running.values()]
        self.kill()

    def kill(self) -> None:
        """Whatever is left."""
        for loop in self._loops:
            loop.cancel()
        for process in self._running.values():
            process.signal(signal.SIGKILL)

    async def _supervise(self, number: int) -> None:
        in_vain = 0
        while True:
            await _until(lambda: number < self.wanted or not self.wanted)
            if not self.wanted:
                return
            self.counts["processes"] += 1
            installed = self.counts["processes"] % _INSTALLED_EVERY == 0
            process = self._running[number] = spawn(self.slots[number], self.roles, self.environ, installed=installed)
            self._happens()
            await self._end_of(process)
            del self._running[number]
            self._happens()
            self.ends.append(process.end())
            in_vain = in_vain + 1 if process.exit_status() == CANNOT_START else 0
            await asyncio.sleep(min(_AGAIN_AFTER_S * 2**in_vain, _AGAIN_AT_MOST_S))

    async def _end_of(self, process: Process) -> None:
        """One that does not end is killed, as any supervisor would, and that is seen from how it ended."""
        await _until(lambda: _has_ended(process) or bool(process.told))
        try:
            await until(partial(_has_ended, process), "it ends", patience_s=_END_S)
        except AssertionError:
            process.signal(signal.SIGKILL)
            await _until(partial(_has_ended, process))

    def _happens(self) -> None:
        self.moments_s.append(asyncio.get_running_loop().time())


def _has_ended(process: Process) -> bool:
    return process.exit_status() is not None


async def _until(condition: Callable[[], bool]) -> None:
    await until(condition, "the run is over long ago", patience_s=_PATIENCE_S)
