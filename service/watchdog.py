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
from streams.outbox import Outbox
from streams.standstill import Place, Standstill, Stuck, places_of
from streams.stuck_words import stuck_page
from streams.topics import Topic

EXIT_STUCK: Final = 4
"""Exit code of a worker one of whose partitions stands still after its stage was begun anew twice."""
_IN_VAIN: Final = 2
_TELL_S: Final = 5.0
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


Tell = Callable[[str, str, str], Awaitable[object]]
"""People, of a stage: its name, where it stands, and why that is said."""


def people_told(outbox: Outbox, *, ends: bool, now_ms: Callable[[], int]) -> Tell:
    """By the topic of incidents, like all that Keyfuse has to say of itself. `ends`: the worker, with what is told."""

    async def tell(stage: str, where: str, why: str) -> None:
        told = stuck_page(stage, where, why, ends=ends, now_ms=now_ms())
        await outbox.send(Topic.INCIDENTS, [(told.key_id, told)])

    return tell


class Watchdog:
    """Of one worker. `give_up` is told why; without one, stages are begun anew for ever. Where that was in vain for a
    partition, whatever the others do, people are told by `tell`, once until it moves; after `tell_within_s`, told or
    not, what is to be done is done.
    """

    def __init__(
        self, bootstrap: str, stages: Sequence[Watched], *, after_s: float, metrics: Metrics, tell: Tell,
        give_up: Callable[[str], None] | None, look: Look = places_of, tell_within_s: float = _TELL_S,
    ) -> None:  # fmt: skip
        self._bootstrap, self._look = bootstrap, look
        self._stages = [(stage, Standstill(after_s)) for stage in stages]
        self._every_s = min(30.0, after_s / 4)
        self._metrics, self._give_up = metrics, give_up
        self._tell, self._tell_within_s = tell, tell_within_s

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
        stuck = still.look(places, stage.assigned(), now_s=now_s())
        if not stuck:
            return
        worst = max(stuck, key=lambda one: one.in_vain)
        self._metrics.inc("keyfuse_stage_stuck_total", stage=stage.name)
        log.error("stage stuck", stage=stage.name, why=_all(worst, stuck), begun_anew=worst.in_vain)
        news = [one for one in stuck if one.in_vain == _IN_VAIN + 1]
        if news:
            await self._tell_in_time(stage.name, news[0].where, _all(news[0], news))
        if worst.in_vain > _IN_VAIN and self._give_up is not None:
            self._give_up(f"{stage.name}: {_all(worst, stuck)}")
        else:
            stage.restart(f"stuck: {_all(worst, stuck)}")

    async def _tell_in_time(self, *told: str) -> None:
        """What does not answer, or takes nothing, must not keep the worker from ending. The log has it in any case."""
        telling = asyncio.ensure_future(self._tell(*told))
        done, _ = await asyncio.wait([telling], timeout=self._tell_within_s)
        telling.cancel()  # not waited for: it may be what hangs
        error = telling.exception() if done else TimeoutError(f"not within {self._tell_within_s:g} s")
        if error is not None:
            log.warning("people could not be told of a stuck stage", stage=told[0], why=repr(error))


def _all(one: Stuck, stuck: Sequence[Stuck]) -> str:
    """What is said of several partitions at once: a stage with forty of them must not send forty pages."""
    others = len(stuck) - 1
    return f"{one.why}; other partitions that stand still: {others}" if others else one.why
