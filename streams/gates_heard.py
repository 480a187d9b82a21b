"""What the gates report of themselves, and how many of them hold to a verdict: asked by the contain stage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

import structlog
from pydantic import ValidationError

from schemas.gate_report import GateReport

PATIENCE_S: Final = 5.0
_SILENT_S: Final = 5.0  # without a report for so long, or five times as long as it promised
_GONE_S: Final = 600.0  # then nobody waits for it any more
log = structlog.get_logger()


class Reached(NamedTuple):
    """Where a verdict is in force."""

    held: int
    of: int
    silent: tuple[str, ...]  # the others
    seconds: float

    def words(self, effect: str) -> str:
        """For the incident.

        >>> Reached(3, 3, (), 0.4).words("refused")
        'refused at 3 of 3 gates after 0.4 s'
        >>> Reached(1, 2, ("gate-b",), 5.0).words("refused")
        'refused at 1 of 2 gates after 5.0 s; not known of gate-b, which does not report'
        """
        told = f"{effect} at {self.held} of {self.of} gates after {self.seconds:.1f} s"
        if not self.silent:
            return told
        report = "does not report" if len(self.silent) == 1 else "do not report"
        return f"{told}; not known of {', '.join(self.silent)}, which {report}"


class Gates(Protocol):
    """Who knows where a verdict is in force."""

    async def hold(self, written: Mapping[int, int]) -> Reached | None:
        """Wait, at most for a few seconds, until every gate has all of the verdicts up to these offsets.

        None where no gate runs.
        """


class NoGates:
    """An install without gates."""

    async def hold(self, written: Mapping[int, int]) -> Reached | None:
        return None


class _Heard(NamedTuple):
    report: GateReport
    at_s: float


class GatesHeard:
    """The newest report of each replica.

    Args:
        now_ms: Wall clock; how old a report was that lay in the topic before this process came.
        tick_s: A clock that never jumps.
    """

    def __init__(self, *, now_ms: Callable[[], int], tick_s: Callable[[], float]) -> None:
        self._now_ms, self._tick_s = now_ms, tick_s
        self._gates: dict[str, _Heard] = {}
        self._news = asyncio.Event()
        self._following = False

    def take(self, _: bytes | None, value: bytes | None) -> bool:
        """One record of the topic. What is no report counts for nothing."""
        try:
            report = GateReport.from_bytes(value or b"")
        except ValidationError:
            log.warning("not a gate's report; it counts for nothing")
            return False
        age_s = 0.0 if self._following else max(0, self._now_ms() - report.at_ms) / 1000
        self._gates[report.replica] = _Heard(report, self._tick_s() - age_s)
        self._news.set()
        return True

    def caught_up(self) -> None:
        """From now on a report is as old as its arrival."""
        self._following = True

    def members(self) -> dict[str, bool]:
        """The gates that run, as far as is known, and whether each reports."""
        now_s = self._tick_s()
        return {
            name: now_s - heard.at_s <= max(_SILENT_S, 5 * heard.report.every_s)
            for name, heard in self._gates.items()
            if not heard.report.leaving and now_s - heard.at_s <= _GONE_S
        }

    def reports(self) -> Iterator[tuple[GateReport, float]]:
        """The newest of each gate that ever reported, and how many seconds old it is."""
        now_s = self._tick_s()
        for heard in self._gates.values():
            yield heard.report, now_s - heard.at_s

    async def hold(self, written: Mapping[int, int]) -> Reached | None:
        began_s, asked = self._tick_s(), set(self.members())
        while True:
            self._news.clear()
            members = {name: alive for name, alive in self.members().items() if name in asked}
            left = tuple(sorted(name for name in members if not self._has(name, written)))
            seconds = self._tick_s() - began_s
            if not any(members[name] for name in left) or seconds >= PATIENCE_S:
                return Reached(len(members) - len(left), len(members), left, seconds) if members else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(1.0, PATIENCE_S - seconds + 0.01))

    def _has(self, name: str, written: Mapping[int, int]) -> bool:
        applied = self._gates[name].report.verdicts
        return all(applied.get(partition, 0) >= offset for partition, offset in written.items())
