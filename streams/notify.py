"""Incidents → people. Each channel has its own queue and worker: a dead one keeps its work and stops no other.

A record is acknowledged when every channel of its routes has it. What each channel said (its message's id, the last
version it shows) is stored, so that a restart edits the message instead of sending a second one. Pictures have queues
and workers of their own: a slow upload holds up no words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from alerting.channels.base import Channel, DeliveryState, Illustrated
from alerting.deliver import DeliveryFailure, deliver
from alerting.illustrate import MOST_AT_ONCE, Draw, Illustration, illustrate, occasion
from alerting.picture import picture
from alerting.routing import route
from schemas.config import RoutesConfig
from schemas.records import Incident
from streams.metrics import Metrics
from streams.score import ShardStore

_AGAIN_AFTER_S: Final = (1.0, 5.0, 15.0, 60.0)  # between rounds of bounded tries, while a channel is down
_GIVE_UP_AFTER_MS: Final = 24 * 3600 * 1000  # an incident nobody could be told of for a day is history
log = structlog.get_logger()


async def draw_aside(incident: Incident) -> bytes | None:
    """The picture, drawn in a thread: the event loop must not wait for it."""
    return await asyncio.to_thread(picture, incident)


@dataclass
class _Job:
    incident: Incident
    partition: int
    queued_at_ms: int
    waiting: Callable[[], None]


@dataclass(frozen=True)
class NotifyDeps:
    """What the stage works with."""

    routes: Callable[[], RoutesConfig]
    channels: Mapping[str, Channel]
    store: ShardStore
    load: Callable[[int], Awaitable[None]]  # of the store's partition: a rebalance may have dropped it
    metrics: Metrics
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    draw: Draw = draw_aside


@dataclass
class NotifyStage:
    """Queues by channel; `start` their workers, `stop` them."""

    deps: NotifyDeps
    _queues: dict[str, asyncio.Queue[_Job]] = field(default_factory=dict)
    _pictures: dict[str, asyncio.Queue[tuple[_Job, DeliveryState]]] = field(default_factory=dict)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self) -> None:
        for name, channel in self.deps.channels.items():
            self._queues[name] = asyncio.Queue()
            self._workers.append(asyncio.create_task(self._work(name), name=f"notify-{name}"))
            if isinstance(channel, Illustrated) and channel.pictures:
                self._pictures[name] = asyncio.Queue(MOST_AT_ONCE)
                self._workers.append(asyncio.create_task(self._illustrate(name, channel), name=f"pictures-{name}"))

    async def stop(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()

    def on_incident(self, partition: int, value: bytes, *, done: Callable[[], object]) -> None:
        """Queue it for each routed channel; `done` when all have it."""
        incident = Incident.from_bytes(value)
        told = [name for name in self._queues if self.deps.store.get(_key(name, incident)) is not None]
        names = [d.channel for d in route(incident, self.deps.routes(), told=told) if d.channel in self._queues]
        waiting = _Countdown(len(names), done)
        for name in names:
            self._queues[name].put_nowait(_Job(incident, partition, self.deps.now_ms(), waiting.one))

    async def _work(self, name: str) -> None:
        while True:
            job = await self._queues[name].get()
            shown = await self._deliver(name, job)
            if shown is None or not self._wants_picture(name, job, shown):
                job.waiting()

    def _wants_picture(self, name: str, job: _Job, shown: DeliveryState) -> bool:
        """Hand it to the worker of pictures, who then ends the job; False when none is due, or there is no room."""
        if name not in self._pictures or occasion(job.incident, shown, self._illustration(name, job)) is None:
            return False
        try:
            self._pictures[name].put_nowait((job, shown))
        except asyncio.QueueFull:
            self.deps.metrics.inc("keyfuse_pictures_total", channel=name, result="crowded_out")
            return False
        return True

    async def _illustrate(self, name: str, channel: Illustrated) -> None:
        while True:
            job, shown = await self._pictures[name].get()
            await self._add_picture(job, channel, shown)
            job.waiting()

    async def _add_picture(self, job: _Job, channel: Illustrated, shown: DeliveryState) -> None:
        """One round of bounded tries: a picture is worth no more."""
        await self.deps.load(job.partition)
        before = self._illustration(channel.name, job)
        result = await illustrate(job.incident, channel, shown, before, draw=self.deps.draw, sleep=self.deps.sleep)
        if result is None:
            return
        if isinstance(result, Illustration):
            await self.deps.store.put(job.partition, _picture_key(channel.name, job), result.to_bytes())
            self.deps.metrics.inc("keyfuse_pictures_total", channel=channel.name, result="delivered")
            return
        self.deps.metrics.inc("keyfuse_pictures_total", channel=channel.name, result=result.reason)
        log.warning("picture failed", channel=channel.name, incident=job.incident.incident_id, why=str(result))

    def _illustration(self, name: str, job: _Job) -> Illustration | None:
        stored = self.deps.store.get(_picture_key(name, job))
        return Illustration.from_bytes(stored) if stored else None

    async def _deliver(self, name: str, job: _Job) -> DeliveryState | None:
        """Rounds of bounded tries until it is delivered, refused for good, or a day old."""
        key = _key(name, job.incident)
        for again in range(10_000):
            await self.deps.load(job.partition)
            stored = self.deps.store.get(key)
            previous = DeliveryState.from_bytes(stored) if stored else None
            result = await deliver(job.incident, self.deps.channels[name], previous, sleep=self.deps.sleep)
            if isinstance(result, DeliveryState):
                await self.deps.store.put(job.partition, key, result.to_bytes())
                self.deps.metrics.inc("keyfuse_deliveries_total", channel=name, result="delivered")
                return result
            self.deps.metrics.inc("keyfuse_deliveries_total", channel=name, result=result.reason)
            log.error("delivery failed", channel=name, incident=job.incident.incident_id, why=str(result))
            if not _worth_another_round(result, self.deps.now_ms() - job.queued_at_ms):
                return None
            await self.deps.sleep(_AGAIN_AFTER_S[min(again, len(_AGAIN_AFTER_S) - 1)])
        return None


def _key(channel: str, incident: Incident) -> bytes:
    return f"delivery:{channel}:{incident.incident_id}".encode()


def _picture_key(channel: str, job: _Job) -> bytes:
    return f"picture:{channel}:{job.incident.incident_id}".encode()


def _worth_another_round(failure: DeliveryFailure, age_ms: int) -> bool:
    return failure.retryable and age_ms < _GIVE_UP_AFTER_MS


class _Countdown:
    """Calls `done` after `n` calls of `one`; at once when there is nothing to wait for."""

    def __init__(self, n: int, done: Callable[[], object]) -> None:
        self._left = n
        self._done = done
        if n == 0:
            done()

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done()
