"""Begins stages anew that live but no longer commit; when that does not help, ends the worker for its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams.health import StageProgress
from streams.metrics import Metrics
from streams.standstill import Place, Standstill, places_of

EXIT_STUCK: Final = 4
"""Exit code of a worker whose stage stands still after it was begun anew twice."""
_IN_VAIN: Final = 2
log = structlog.get_logger()


@dataclass(frozen=True)
class Watched:
    """A stage, as far as its watchdog looks."""

    name: str
    group: str
    tps: Sequence[TopicPartition]
    assigned: Callable[[], Collection[TopicPartition]]
    restart: Callable[[str], None]
    progress: StageProgress


Look = Callable[[str, str, Collection[TopicPartition]], Awaitable[dict[TopicPartition, Place]]]


class Watchdog:
    """Of one worker. `give_up` is told why; without one, stages are begun anew for ever."""

    def __init__(
        self, bootstrap: str, stages: Sequence[Watched], *, after_s: float, metrics: Metrics,
        give_up: Callable[[str], None] | None, look: Look = places_of,
    ) -> None:  # fmt: skip
        self._bootstrap, self._look = bootstrap, look
        self._stages = [(stage, Standstill(after_s)) for stage in stages]
        self._every_s = min(30.0, after_s / 4)
        self._metrics, self._give_up = metrics, give_up

    async def run(self, now_s: Callable[[], float]) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._every_s)
            for stage, still in self._stages:
                await self._watch(stage, still, now_s)

    async def _watch(self, stage: Watched, still: Standstill, now_s: Callable[[], float]) -> None:
        if stage.progress.failed or stage.progress.waiting:
            still.forget()
            return
        try:
            places = await self._look(self._bootstrap, stage.group, stage.tps)
        except (KafkaError, OSError):
            still.forget()  # the broker is away: nobody commits
            return
        why = still.why(places, stage.assigned(), now_s=now_s())
        if not why:
            return
        self._metrics.inc("keyfuse_stage_stuck_total", stage=stage.name)
        log.error("stage stuck", stage=stage.name, why=why, begun_anew=still.in_vain)
        if still.in_vain > _IN_VAIN and self._give_up is not None:
            self._give_up(f"{stage.name}: {why}")
        else:
            stage.restart(f"stuck: {why}")
