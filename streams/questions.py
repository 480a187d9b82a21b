"""Questions → people: one message in each place, edited with each version. A record is acknowledged when all show it.

What each message shows is stored, so that a restart edits it instead of asking twice. A question that a newer version
overtakes is not shown any more; one that nobody could be asked for a day is given up, and `keyfuse questions` has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydantic import ValidationError

from alerting.asking import Asked, Place, Shown, digest_of, places, team_places
from alerting.channels.base import Asking
from alerting.deliver import About, DeliveryFailure, patiently
from schemas.config import RoutesConfig
from schemas.question import Question, QuestionShown
from streams.checkpoint import ShardStore
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

_AGAIN_AFTER_S: Final = (1.0, 5.0, 15.0, 60.0)
_GIVE_UP_AFTER_MS: Final = 24 * 3600 * 1000
_AT_ONCE: Final = 4  # a campaign asks thousands; a channel takes about one message a second
_PARTITION: Final = 0
log = structlog.get_logger()


@dataclass(frozen=True)
class QuestionDeps:
    """What the stage works with."""

    routes: Callable[[], RoutesConfig]
    member: Callable[[str], str]  # somebody's id where the channels are
    channels: Mapping[str, Asking]
    store: ShardStore
    load: Callable[[int], Awaitable[None]]
    outbox: Outbox
    metrics: Metrics
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]


@dataclass
class _Job:
    """One question while its newest version is not shown everywhere."""

    question: Question
    since_ms: int
    waiting: list[Callable[[], object]]


@dataclass
class QuestionStage:
    """A task for each question that is not shown yet."""

    deps: QuestionDeps
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def forget(self) -> None:
        """A rebalance: what is not acknowledged comes again, here or elsewhere."""
        self._jobs.clear()

    def on_question(self, value: bytes | None, *, done: Callable[[], object]) -> None:
        """Show this version wherever it belongs; `done` when it is shown, or a newer one is."""
        if not value:  # it was closed long ago and is forgotten
            done()
            return
        try:
            question = Question.from_bytes(value)
        except ValidationError:
            log.warning("not a question; nobody is asked", bytes=len(value))
            done()
            return
        job = self._jobs.get(question.question_id)
        if job is not None:
            job.question, job.since_ms = question, self.deps.now_ms()
            job.waiting.append(done)
            return
        job = self._jobs[question.question_id] = _Job(question, self.deps.now_ms(), [done])
        task = asyncio.create_task(self._work(job), name=f"question-{question.question_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: _Job) -> None:
        while job.waiting:
            question, waiting, job.waiting = job.question, job.waiting, []
            await self._show(job, question)
            for done in waiting:
                done()
        if self._jobs.get(job.question.question_id) is job:
            del self._jobs[job.question.question_id]

    async def _show(self, job: _Job, question: Question) -> None:
        """Rounds of bounded tries until all places show it, or a newer version is there, or a day is over."""
        for again in range(10_000):
            async with self._turns:
                failure = await self._round(question)
            overtaken = job.question is not question
            if failure is None or overtaken or self.deps.now_ms() - job.since_ms >= _GIVE_UP_AFTER_MS:
                return
            await self.deps.sleep(_AGAIN_AFTER_S[min(again, len(_AGAIN_AFTER_S) - 1)])

    async def _round(self, question: Question) -> DeliveryFailure | None:
        """Every place once; a failure that is worth another round. Who cannot be written to is asked with the team."""
        await self.deps.load(_PARTITION)
        asked = self._asked(question)
        asking = {name: channel.hears for name, channel in self.deps.channels.items()}
        wanted = places(question, self.deps.routes(), asking=asking, member=self.deps.member)
        todo = [*dict.fromkeys((*wanted, *(place for place in asked.places() if place.channel in asking)))]
        if not todo:
            self.deps.metrics.inc("keyfuse_questions_total", channel="", result="nowhere")
            log.error("nobody can be asked: no channel of routes.yaml can ask", question=question.question_id)
        later: DeliveryFailure | None = None
        for place in todo:  # grows when somebody cannot be written to
            result = await self._one(question, place, asked.at(place))
            if isinstance(result, Shown):
                asked = asked.now_shown(place, result)
                await self.deps.load(_PARTITION)  # also where it went to another owner meanwhile: what was asked, was
                await self.deps.store.put(_PARTITION, _key(question), asked.to_bytes())
                await self._tell_shown(question)
            elif result is not None and result.retryable:
                later = result
            elif result is not None and place.member:
                todo += [each for each in team_places(question, self.deps.routes(), asking=asking) if each not in todo]
        return later

    async def _tell_shown(self, question: Question) -> None:
        """What follows from silence counts only from then on."""
        if question.state == "open" and question.shown_at_ms is None:
            seen = QuestionShown(question_id=question.question_id, at_ms=self.deps.now_ms())
            await self.deps.outbox.send(Topic.KEY_ASKS, [(question.question_id, seen)])

    async def _one(self, question: Question, place: Place, before: Shown | None) -> Shown | DeliveryFailure | None:
        """None: this version is there already."""
        if before is not None and before.digest == digest_of(question):
            return None
        channel = self.deps.channels[place.channel]
        result = await patiently(
            lambda: channel.ask(question, before, member=place.member), About(place.channel, question.question_id),
            sleep=self.deps.sleep,
        )  # fmt: skip
        told = "delivered" if isinstance(result, Shown) else result.reason
        self.deps.metrics.inc("keyfuse_questions_total", channel=place.channel, result=told)
        if isinstance(result, DeliveryFailure):
            log.error("a question could not be shown", question=question.question_id, why=str(result))
        return result

    def _asked(self, question: Question) -> Asked:
        stored = self.deps.store.get(_key(question))
        return Asked.from_bytes(stored) if stored else Asked(question_id=question.question_id)


def _key(question: Question) -> bytes:
    return f"asked:{question.question_id}".encode()
