"""Incidents → people. Each channel has its own queue and worker: a dead one keeps its work and stops no other.

A record is acknowledged when every channel of its routes has it. What each channel said (its message's id, the last
version it shows) is stored, so that a restart edits the message instead of sending a second one. So is an incident that
time alone will bring to people, because quiet hours end or nobody acknowledges. Pictures have queues
and workers of their own: a slow upload holds up no words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from alerting.channels.base import Channel, DeliveryState, Illustrated
from alerting.deliver import DeliveryFailure, deliver
from alerting.illustrate import MOST_AT_ONCE, Draw, Illustration, illustrate, occasion
from alerting.picture import picture
from alerting.routing import plan
from schemas.config import RoutesConfig
from schemas.records import Incident
from streams.checkpoint import ShardStore
from streams.metrics import Metrics

_AGAIN_AFTER_S: Final = (1.0, 5.0, 15.0, 60.0)  # between rounds of bounded tries, while a channel is down
_WAITING: Final = b"waiting:"  # of an incident that time alone will bring to people: quiet hours end, or it escalates
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
class _Waiting:
    """The newest version of an incident, and when to ask again who is to be told."""

    incident: Incident
    partition: int
    again_ms: int


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
    besides: Callable[[], Mapping[str, Collection[str]]] = dict  # by budget: channels that are told of it, too


@dataclass
class NotifyStage:
    """Queues by channel; `start` their workers, `stop` them."""

    deps: NotifyDeps
    _queues: dict[str, asyncio.Queue[_Job]] = field(default_factory=dict)
    _pictures: dict[str, asyncio.Queue[tuple[_Job, DeliveryState]]] = field(default_factory=dict)
    _workers: list[asyncio.Task[None]] = field(default_factory=list)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)  # by incident
    _notes: asyncio.Queue[tuple[int, str, Callable[[], None]]] = field(default_factory=asyncio.Queue)

    def start(self) -> None:
        self._workers.append(asyncio.create_task(self._note(), name="notify-notes"))
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
        """Queue it for each routed channel; `done` when all have it, and what must wait is stored."""
        incident = Incident.from_bytes(value)
        known = self._waiting.get(incident.incident_id)
        if known is None or known.incident.seq <= incident.seq:
            self._tell(incident, partition, done=done)
        else:
            done()  # it comes again, and a newer version of it is known

    def restored(self, partition: int, values: Mapping[bytes, bytes]) -> None:
        """After a restart: what waits."""
        for key, value in values.items():
            if key.startswith(_WAITING) and value:
                incident = Incident.from_bytes(value)
                self._waiting[incident.incident_id] = _Waiting(incident, partition, again_ms=0)

    def forget(self) -> None:
        """A rebalance: what waits may be another worker's now."""
        self._waiting.clear()

    async def tick(self) -> None:
        """Tell what has waited long enough."""
        now_ms = self.deps.now_ms()
        for each in [waiting for waiting in self._waiting.values() if waiting.again_ms <= now_ms]:
            self._tell(each.incident, each.partition, done=lambda: None)

    def _tell(self, incident: Incident, partition: int, *, done: Callable[[], object]) -> None:
        now_ms, name = self.deps.now_ms(), incident.incident_id
        told = [each for each in self._queues if self.deps.store.get(_key(each, incident)) is not None]
        planned = plan(incident, self.deps.routes(), now_ms=now_ms, told=told, besides=self.deps.besides())
        channels = [delivery.channel for delivery in planned.now if delivery.channel in self._queues]
        if planned.again_ms is not None:
            self._waiting[name] = _Waiting(incident, partition, planned.again_ms)
            waiting = _Countdown(len(channels) + 1, done)
            self._notes.put_nowait((partition, name, waiting.one))
        elif self._waiting.pop(name, None) or self.deps.store.get(_waiting_key(name)):
            # Noted only when all channels have it: else a restart would lose what it waited for.
            noted = _Countdown(1, done)
            waiting = _Countdown(len(channels), lambda: self._notes.put_nowait((partition, name, noted.one)))
        else:
            waiting = _Countdown(len(channels), done)
        for channel in channels:
            self._queues[channel].put_nowait(_Job(incident, partition, now_ms, waiting.one))

    async def _note(self) -> None:
        """Store what waits of an incident, or that nothing does any more."""
        while True:
            partition, name, noted = await self._notes.get()
            await self.deps.load(partition)
            waits, key = self._waiting.get(name), _waiting_key(name)
            value = waits.incident.to_bytes() if waits else b""
            if (self.deps.store.get(key) or b"") != value:
                await self.deps.store.put(partition, key, value)
            noted()

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
            await self._keep(job, _picture_key(channel.name, job), result.to_bytes())
            self.deps.metrics.inc("keyfuse_pictures_total", channel=channel.name, result="delivered")
            return
        self.deps.metrics.inc("keyfuse_pictures_total", channel=channel.name, result=result.reason)
        log.warning("picture failed", channel=channel.name, incident=job.incident.incident_id, why=str(result))

    async def _keep(self, job: _Job, key: bytes, value: bytes) -> None:
        """What was told stays told, also where the partition has gone to another owner meanwhile."""
        await self.deps.load(job.partition)
        await self.deps.store.put(job.partition, key, value)

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
                await self._keep(job, key, result.to_bytes())
                self.deps.metrics.inc("keyfuse_deliveries_total", channel=name, result="delivered")
                return result
            self.deps.metrics.inc("keyfuse_deliveries_total", channel=name, result=result.reason)
            log.error("delivery failed", channel=name, incident=job.incident.incident_id, why=str(result))
            if not _worth_another_round(result, self.deps.now_ms() - job.queued_at_ms):
                return None
            await self.deps.sleep(_AGAIN_AFTER_S[min(again, len(_AGAIN_AFTER_S) - 1)])
        return None


def _waiting_key(incident_id: str) -> bytes:
    return _WAITING + incident_id.encode()


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
