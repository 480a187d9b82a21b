"""The census beside the budget stage, which reads every frame once: what it finds is told like any other finding.

What it has told lies beside the shards of the sums, in the key's partition: stored first, then sent, and sent again by
the next process that sees the same. So a restart tells nothing anew and loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from controls.census import Census
from schemas.records import Finding
from streams.checkpoint import ShardStore
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic
from streams.uses import Used


class CensusTaker:
    """A `UseObserver`."""

    def __init__(self, census: Census, *, store: ShardStore, outbox: Outbox, metrics: Metrics) -> None:
        self._census, self._store, self._outbox, self._metrics = census, store, outbox, metrics

    def restored(self, partition: int, values: Mapping[bytes, bytes]) -> None:
        """A partition that this worker owns from now on."""
        mine = f"{partition}:told:".encode()
        stored = [value for name, value in values.items() if value and name.startswith(mine)]
        self._census.told.restore(Finding.from_bytes(value) for value in stored)

    async def saw(self, used: Used) -> None:
        """Tell what a frame shows; told twice it has the same id."""
        found = self._census.saw(used.frame)
        unsaved = self._census.told.unsaved
        for (detector, key_id), finding in list(unsaved.items()):
            value = finding.to_bytes() if finding is not None else b""
            await self._store.put(used.partition, _name(used.partition, detector, key_id), value)
            del unsaved[detector, key_id]
        await tell(found, self._outbox, self._metrics)
        self._metrics.set("keyfuse_census_keys", len(self._census))

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Nothing comes of time alone: stale keys are found where the archive is."""

    def drop(self) -> None:
        """A rebalance. Memory of keys that went is of no use, and bounded by itself."""
        self._census.drop()


async def tell(findings: list[Finding], outbox: Outbox, metrics: Metrics) -> None:
    """Findings of the identity family to the decide stage."""
    if findings:
        await outbox.send(Topic.FINDINGS, [(finding.key_id, finding) for finding in findings])
        for finding in findings:
            metrics.inc("keyfuse_findings_total", family=finding.family, severity=finding.severity)


def _name(partition: int, detector: str, key_id: str) -> bytes:
    return f"{partition}:told:{detector}:{key_id}".encode()
