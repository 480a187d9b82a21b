"""Which stages of a worker its watchdog looks at, and what it may do where one stands still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from aiokafka import TopicPartition

from service.app_keeper import AppKeeper
from service.edges import Edges
from service.renewed import Renewed
from service.watchdog import Watchdog, Watched, people_told

# Of the others some hold records back for as long as they need; some read one partition, for which all workers but one
# wait: each of those would take itself for the one that never came back, and end.
WATCHED_APPS: Final = frozenset({"score", "uses", "decide", "identity-outcomes"})


def watched(edges: Edges, name: str, group: str, topics: Sequence[str], kept: Renewed | AppKeeper) -> Watched:
    """The topics have as many partitions as there are of the usage topics."""
    partitions = range(edges.install.topics.partitions)
    tps = [TopicPartition(topic, number) for topic in topics for number in partitions]
    return Watched(name, group, tps, kept.assigned, kept.restart, edges.health.stage(name, time.monotonic()))


def watchdog(edges: Edges, stages: Sequence[Watched], *, stuck: asyncio.Event) -> Watchdog | None:
    """None where there is nothing to watch, or nobody wants it. `stuck` is set when the worker should end."""
    wiring = edges.install.folder.wiring
    if not (wiring.watchdog.stuck_after_s and stages):
        return None
    embedded = wiring.kafka.bootstrap == "embedded"  # all of its topics would end with this process
    return Watchdog(
        edges.bootstrap, stages, after_s=wiring.watchdog.stuck_after_s, metrics=edges.metrics,
        tell=people_told(edges.outbox, ends=not embedded, now_ms=edges.now_ms),
        give_up=None if embedded else lambda _: stuck.set(),
    )  # fmt: skip
