"""What one gate is told, by topics, by the folder and by its own disk; and its rules, which follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog
from pydantic import ValidationError

from controls.expected import turned
from gate.decide import Decider
from gate.kept import Place
from gate.known import Known
from gate.leased import LeasedSlices
from gate.memory import Remembered, packing
from schemas.exception import PolicyException
from schemas.gate_report import GateReport
from schemas.key_record import KeyRecord
from schemas.records import Record
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict
from service.config_tree import Folder
from service.gate_feed import Take
from service.gate_planes import planes_of
from service.install import Install, wall_ms
from streams.metrics import Metrics
from streams.topics import Topic

_R = TypeVar("_R", bound=Record)
log = structlog.get_logger()


class GateNews:
    """Takes each record over; `told` is called at the end of a batch that brought news."""

    def __init__(
        self, install: Install, known: Known, decider: Decider, slices: LeasedSlices, metrics: Metrics,
        *, told: Callable[[], None],
    ) -> None:  # fmt: skip
        self._install, self._known, self._decider, self._slices = install, known, decider, slices
        self._metrics, self._told = metrics, told
        self._exceptions: dict[str, PolicyException] = {}
        self._newer_rules = False
        self._heard = False  # something since the last report
        self._news = self._stood = False  # verdicts, keys, exceptions; budgets: since they were kept on disk
        self._looked_ms = wall_ms()
        self.kept_ms: int | None = None
        """When what it read from its disk was written."""
        slices.watch(install.folder.budgets.budgets)

    def takers(self, *, leases: Take, reported: Callable[[GateReport], None]) -> dict[Topic, Take]:
        return {
            Topic.VERDICTS: self._reads(GateVerdict, Topic.VERDICTS, self._known.judged),
            Topic.KEYS: self._reads(KeyRecord, Topic.KEYS, _anywhere(self._known.record)),
            Topic.EXCEPTIONS: self._reads(PolicyException, Topic.EXCEPTIONS, _anywhere(self._excepted)),
            Topic.BUDGETS: self._reads(BudgetStatus, Topic.BUDGETS, _anywhere(self._known.stands)),
            Topic.LEASES: leases,
            Topic.GATES: self._reads(GateReport, Topic.GATES, _anywhere(reported)),
        }

    def progressed(self) -> None:
        """At the end of a batch: rules are worked out once, however many exceptions it brought."""
        if self._newer_rules:
            self._newer_rules = False
            self._rule(self._install.folder)
        if self._heard:  # not a report of a gate, or reports would beget reports
            self._heard = False
            self._told()

    def reloaded(self, folder: Folder) -> None:
        """The folder has changed."""
        self._known.registered(self._install.registry)
        self._rule(folder)

    def look(self, now_ms: int) -> None:
        """Exceptions of budgets begin and end by time alone."""
        if turned(self._exceptions.values(), self._looked_ms, now_ms):
            self._rule(self._install.folder)
        self._looked_ms = now_ms

    def recall(self, remembered: Remembered) -> None:
        """What it knew before a restart."""
        self._known.recalled(remembered.verdicts, remembered.statuses)
        for record in remembered.records:
            self._known.record(record)
        self._exceptions = {each.exception_id: each for each in remembered.exceptions}
        self._newer_rules = True
        self.progressed()
        self.kept_ms = remembered.at_ms

    def packing(self, *, all_news: bool) -> Iterator[bytes] | None:
        """What to keep, if something is new. Where budgets stand is always new, and can wait."""
        if not (self._news or (all_news and self._stood)):
            return None
        self._news = self._stood = False
        return packing(self._known, self._exceptions.values())

    def _rule(self, folder: Folder) -> None:
        """By what the folder and the exceptions say now."""
        self._decider.planes = planes_of(folder, self._exceptions.values(), at_ms=wall_ms())
        self._slices.watch(folder.budgets.budgets)

    def _excepted(self, exception: PolicyException) -> None:
        """An older version is the topic read again after a restart."""
        known = self._exceptions.get(exception.exception_id)
        if known is not None and exception.seq < known.seq:
            return
        self._exceptions[exception.exception_id] = exception
        self._newer_rules = True

    def _reads(self, kind: type[_R], topic: Topic, take: Callable[[_R, Place], object]) -> Take:
        """A tombstone takes nothing back: a deny does not end by silence."""

        def read(value: bytes | None, place: Place) -> None:
            self._heard |= topic is not Topic.GATES
            self._stood |= topic is Topic.BUDGETS
            self._news |= topic not in {Topic.GATES, Topic.BUDGETS}
            try:
                if value is not None:
                    take(kind.from_bytes(value), place)
            except ValidationError:
                self._metrics.inc("keyfuse_gate_unread_total", topic=topic.value)
                log.warning("a record that the gate cannot read; what it knew stays", topic=topic.value)

        return read


def _anywhere(take: Callable[[_R], object]) -> Callable[[_R, Place], object]:
    """Of records that say themselves which is the newer one."""
    return lambda record, _: take(record)
