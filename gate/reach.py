"""Whether the broker is reached, and what holds meanwhile if it is not: by environment open or closed.

The proof that it is reached is a report of this gate's own that came back: written and read in one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gate.ports import Ceiling, Rate
from schemas.call import ALLOW, Ruling
from schemas.config.wiring import GateConfig
from schemas.gate_report import GateReport
from schemas.records import KeyFacts

_MISSED: Final = 5  # reports, and a gate counts as away
_RETRY_S: Final = 5.0
_OVERLAP_MS: Final = 10_000  # a report of the start before this one may still come, by a clock a little off


class BrokerReach:
    """Of one gate.

    Args:
        replica: This gate's name.
        started_ms: Of this start, as its reports say.
        tick_ms: A clock that never jumps.
    """

    def __init__(
        self, replica: str, started_ms: int, *, settings: Callable[[], GateConfig], tick_ms: Callable[[], float]
    ) -> None:  # fmt: skip
        self._replica, self._started_ms, self._settings, self._tick_ms = replica, started_ms, settings, tick_ms
        self._sent: dict[int, float] = {}  # when each report was sent
        self._heard_ms: float | None = None
        self._others: dict[str, float] = {}  # replica -> until when it counts as alive
        self.twin = False
        """Another gate goes by the same name: of the two nobody knows which one has taken a cut."""

    def sent(self, report: GateReport) -> None:
        """A report is on its way."""
        self._sent[report.at_ms] = self._tick_ms()
        while len(self._sent) > 64:
            del self._sent[next(iter(self._sent))]

    def heard(self, report: GateReport) -> None:
        """A report of some gate came by."""
        if (report.replica, report.started_ms) == (self._replica, self._started_ms):
            at_ms = self._sent.get(report.at_ms)
            if at_ms is not None:
                self._heard_ms = max(self._heard_ms or at_ms, at_ms)
        elif report.replica == self._replica:
            late = report.at_ms > self._started_ms + _OVERLAP_MS
            self.twin |= late and not report.leaving
        else:
            self._others[report.replica] = 0.0 if report.leaving else self._tick_ms() + _MISSED * report.every_s * 1000

    def gates(self) -> int:
        """This one and the others that live: each has its part of every ceiling. Without news none is gone."""
        now_ms = self._heard_ms if self.away else self._tick_ms()
        return 1 + sum(until_ms > (now_ms or 0.0) for until_ms in self._others.values())

    def age_s(self) -> float | None:
        """How old the newest news is; None: there was none since the start."""
        return None if self._heard_ms is None else (self._tick_ms() - self._heard_ms) / 1000

    @property
    def away(self) -> bool:
        age_s = self.age_s()
        return age_s is None or age_s > self._settings().stale_after_s

    def judge(self, facts: KeyFacts) -> Ruling:
        """Refused where the environment fails closed."""
        if not self.away or self._opens(facts):
            return ALLOW
        since = self.since()
        words = f"Keyfuse's gate has had no news {since}, and {facts.env} fails closed then: try again later"
        return Ruling("deny", f"gate.fail: {facts.env}", words, retry_after_s=_RETRY_S)

    def ceilings(self, facts: KeyFacts) -> tuple[Ceiling, ...]:
        """The local ceiling, where it fails open."""
        if not self.away:
            return ()
        limit = self._settings().local_ceiling_usd_per_min * 1e9
        return (Rate("gate.local_ceiling_usd_per_min, while the broker is away", "nano_usd", 60, limit),)

    def waives(self, facts: KeyFacts) -> bool:
        return self.away and self._opens(facts)

    def since(self) -> str:
        """For how long, in words."""
        age_s = self.age_s()
        return "since it started" if age_s is None else f"for {age_s:,.0f} s"

    def _opens(self, facts: KeyFacts) -> bool:
        settings = self._settings()
        return settings.fail.get(facts.env, settings.fail_otherwise) == "open"
