"""A candidate version of the detectors beside the one in force: what it says goes to a topic of its own.

Nothing acts on it, and nothing of it is checkpointed: after a restart it begins with what the version in force has
learned. Where the two differ in thresholds alone that is all there is to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from detectors.beside import Beside, SecondJudge, beside, differences
from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.config.detectors import AnnouncedConfig
from schemas.records import TRIAL, AuditRow, Finding, Mark, stable_id
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic


def version_of(settings: DetectorsConfig) -> str:
    """A short name that the same settings always have."""
    return stable_id("det", settings.model_dump_json())


class Shadow:
    """The candidate beside each core of one worker; with no settings on trial it does nothing."""

    def __init__(
        self,
        *,
        settings: Callable[[], DetectorsConfig | None],
        new_core: Callable[[int, DetectorsConfig], ScoreCore],
        outbox: Outbox,
        metrics: Metrics,
    ) -> None:
        self._settings, self._new_core = settings, new_core
        self._outbox, self._metrics = outbox, metrics
        self._beside: dict[int, tuple[ScoreCore, Beside]] = {}
        self._since_s: dict[int, int] = {}  # clock of each core when the candidate came beside it; 0 for a blank one
        self._noted = ""  # version of the candidate that the audit knows of

    def begin(self, core: ScoreCore) -> None:
        """Put the candidate beside a core, or a new candidate in the place of the old; none where none is on trial."""
        settings = self._settings()
        if settings is not None and self._goes_on(core, settings):
            return
        self._end(core.partition)
        if settings is None:
            self._noted = ""
        else:
            second = beside(core, settings, new_core=lambda given: self._new_core(core.partition, given))
            self._beside[core.partition], self._since_s[core.partition] = (core, second), core.clock_s

    def _goes_on(self, core: ScoreCore, settings: DetectorsConfig) -> bool:
        """What the same candidate has learned by itself is kept when something else in the folder has changed."""
        known, second = self._beside.get(core.partition, (None, None))
        if known is not core or not isinstance(second, ScoreCore) or second.judge.settings != settings:
            return False
        second.reconfigure(settings)
        return True

    def drop(self) -> None:
        """The cores are gone."""
        self._beside.clear()
        self._since_s.clear()

    def allow(self, marks: Sequence[Mark], expected: Sequence[AnnouncedConfig]) -> None:
        """What people have said counts for the candidate too."""
        for _, second in self._beside.values():
            if isinstance(second, ScoreCore):
                second.allow(marks, expected)

    async def process(self, partition: int, frame: pa.RecordBatch) -> None:
        """After the core has taken the frame."""
        if partition in self._beside:
            await self._note(partition, frame)
            await self._tell(self._beside[partition][1].process(frame))

    async def advance(self, partition: int, clock_s: int) -> None:
        """After the core's clock has moved."""
        if partition in self._beside:
            await self._tell(self._beside[partition][1].advance(clock_s))

    async def _note(self, partition: int, frame: pa.RecordBatch) -> None:
        """The audit says from when on the candidate was heard, in event time: what came before is not compared.

        The clocks of partitions differ by how long each was without traffic: the candidate has missed what came before
        the newest of them.
        """
        core, settings = self._beside[partition][0], self._settings()
        version = version_of(settings) if settings is not None else ""
        if settings is None or version == self._noted or not frame.num_rows:
            return
        at_ms = max(self._since_s.values()) * 1000 or int(frame["ts_ms"].to_numpy().min())
        row = AuditRow(
            audit_id=stable_id("aud", TRIAL, version, at_ms), at_ms=at_ms, actor="keyfuse",
            action=TRIAL, key_id="", incident_id="", command_id="", result=version,
            detail={"changes": differences(core.judge.settings, settings)},
        )  # fmt: skip
        await self._outbox.send(Topic.AUDIT, [(version, row)])
        self._noted = version

    def _end(self, partition: int) -> None:
        core, second = self._beside.pop(partition, (None, None))
        if core is not None and isinstance(second, SecondJudge):
            core.observers.remove(second)

    async def _tell(self, findings: list[Finding]) -> None:
        if findings:
            await self._outbox.send(Topic.SHADOW, [(finding.key_id, finding) for finding in findings])
            for finding in findings:
                self._metrics.inc("keyfuse_shadow_findings_total", family=finding.family)
