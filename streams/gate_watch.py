"""A gate that fell silent is an incident of its own: cut off, it cannot tell anybody that it fails open or closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from schemas.config.wiring import GateConfig
from schemas.gate_report import GateReport
from schemas.records import CLOSED, GATE_PREFIX, Incident, stable_id
from streams.contain_words import page
from streams.gates_heard import GatesHeard
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

FORGOTTEN_S: Final = 86_400.0
"""A gate that was silent for so long is taken for gone."""
_PAUSE_S: Final = 5.0  # a longer pause of the watch itself: it begins to count anew
log = structlog.get_logger()


class GateWatch:
    """What to tell people of gates. What was told is known by the topic of incidents: another worker goes on with it.

    Args:
        gates: What gates report.
        settings: When silence is long enough, and what a gate does then.
        now_ms: Wall clock, for the incidents.
        tick_s: The clock of `gates`, which never jumps.
    """

    def __init__(
        self, gates: GatesHeard, settings: Callable[[], GateConfig], *, now_ms: Callable[[], int],
        tick_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._gates, self._settings, self._now_ms, self._tick_s = gates, settings, now_ms, tick_s
        self._told: dict[str, Incident] = {}  # key_id -> its newest incident
        self._looked_s = self._reached_s = tick_s()

    def take(self, _: bytes | None, value: bytes | None) -> bool:
        """One record of the topic of incidents, whosever it is."""
        try:
            incident = Incident.from_bytes(value or b"")
        except ValidationError:
            return False
        if incident.key_id.startswith(GATE_PREFIX):
            self._told[incident.key_id] = incident
        return False

    def look(self, *, reached: bool) -> list[Incident]:
        """What is new. Without the broker nobody is heard, and that says nothing of gates."""
        now_s, patience_s = self._tick_s(), self._settings().stale_after_s
        if not reached or now_s - self._looked_s > _PAUSE_S:
            self._reached_s = now_s
        self._looked_s = now_s
        hears = now_s - self._reached_s >= patience_s
        news: list[Incident] = []
        for report, silent_s in self._gates.reports():
            known = self._told.get(f"{GATE_PREFIX}{report.replica}")
            is_open = known is not None and known.state not in CLOSED
            over = _over(report, silent_s, patience_s)
            if known is not None and is_open and over:
                news.append(self._closed(known, over))
            elif hears and not is_open and not over:
                incident = self._opened(report, silent_s)
                if known is None or known.incident_id != incident.incident_id:  # else it is closed for good
                    news.append(incident)
        return news

    def silent(self) -> int:
        return sum(incident.state not in CLOSED for incident in self._told.values())

    def _opened(self, report: GateReport, silent_s: float) -> Incident:
        settings, now_ms, key_id = self._settings(), self._now_ms(), f"{GATE_PREFIX}{report.replica}"
        told = page(_words(report.replica, silent_s, settings), now_ms=now_ms)
        same = stable_id("inc", key_id, report.started_ms, report.at_ms)
        return told.model_copy(update={"incident_id": same, "key_id": key_id})

    def _closed(self, incident: Incident, why: str) -> Incident:
        update: dict[str, Any] = {"state": "resolved", "seq": incident.seq + 1, "transition": f"Resolved: {why}."}
        return incident.model_copy(update=update | {"updated_at_ms": self._now_ms()})


def _over(report: GateReport, silent_s: float, patience_s: float) -> str:
    """Why nobody need look after the gate; empty where somebody must."""
    if report.leaving:
        return f"gate {report.replica} was stopped in an orderly way"
    if silent_s < patience_s:
        return f"gate {report.replica} reports again"
    if silent_s >= FORGOTTEN_S:
        return f"gate {report.replica} has been silent for a day, and is taken for gone"
    return ""


def _words(replica: str, silent_s: float, settings: GateConfig) -> str:
    """What happened, what it means, what to do.

    >>> _words("gate-b", 31, GateConfig(fail={"prod": "open", "dev": "closed"}, fail_otherwise="closed"))
    'gate gate-b has not reported for 31 s and did not take its leave: it died, or is cut off from the broker. If it \
still answers, then without news of cuts and budgets: what fails open (prod) goes on, each key for at most $20.00 a \
minute; what fails closed (all but prod) is refused. Look whether it runs and reaches the broker'
    """
    opens, shuts = (
        ", ".join(sorted(env for env, fails in settings.fail.items() if fails == kind)) for kind in ("open", "closed")
    )
    if settings.fail_otherwise == "open":
        opens = f"all but {shuts}" if shuts else "all"
    else:
        shuts = f"all but {opens}" if opens else "all"
    most = f"each key for at most ${settings.local_ceiling_usd_per_min:,.2f} a minute"
    goes_on = f"what fails open ({opens}) goes on, {most}" if opens else ""
    does = "; ".join(filter(None, (goes_on, f"what fails closed ({shuts}) is refused" if shuts else "")))
    return (
        f"gate {replica} has not reported for {silent_s:.0f} s and did not take its leave: it died, or is cut off from "
        f"the broker. If it still answers, then without news of cuts and budgets: {does}. Look whether it runs and "
        "reaches the broker"
    )


async def watch_gates(
    watch: GateWatch, outbox: Outbox, metrics: Metrics, *, reached: Callable[[], Awaitable[bool]],
    stopping: Callable[[], bool], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:  # fmt: skip
    """Once a second, until `stopping`. What the broker does not take is told when it does."""
    while not stopping():
        try:
            news = watch.look(reached=await asyncio.wait_for(reached(), 3))
            await outbox.send(Topic.INCIDENTS, [(each.key_id, each) for each in news])
            for each in news:
                watch.take(None, each.to_bytes())
        except (KafkaError, OSError, TimeoutError) as error:
            watch.look(reached=False)
            log.warning("the broker is away: nothing can be said of gates", why=str(error))
        metrics.set("keyfuse_gates_silent", watch.silent())
        await sleep(1)
