"""The census beside the budget stage, which reads every frame once: what it finds is told like any other finding."""

from __future__ import annotations

from controls.census import Census
from schemas.records import Finding
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic
from streams.uses import Used


class CensusTaker:
    """A `UseObserver`. A rebalance brings other keys; what was known of those that went is of no use."""

    def __init__(self, census: Census, *, outbox: Outbox, metrics: Metrics) -> None:
        self._census, self._outbox, self._metrics = census, outbox, metrics

    async def saw(self, used: Used) -> None:
        """Tell what a frame shows; told twice it has the same id."""
        await tell(self._census.saw(used.frame), self._outbox, self._metrics)
        self._metrics.set("keyfuse_census_keys", len(self._census))

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Nothing comes of time alone: stale keys are found where the archive is."""

    def drop(self) -> None:
        """Keys that stay go on; memory is bounded by itself."""


async def tell(findings: list[Finding], outbox: Outbox, metrics: Metrics) -> None:
    """Findings of the identity family to the decide stage."""
    if findings:
        await outbox.send(Topic.FINDINGS, [(finding.key_id, finding) for finding in findings])
        for finding in findings:
            metrics.inc("keyfuse_findings_total", family=finding.family, severity=finding.severity)
