"""The desk of one worker for answers to questions, and what it has beside it for incidents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError

from alerting.answers.desk import Desk
from alerting.answers.errors import Unavailable
from alerting.answers.questions import QuestionDesk
from controls.questions import answer_row
from schemas.question import Answer, Question
from schemas.records import Record
from service.edges import Edges
from service.install import wall_ms
from streams.newest_records import NewestRecords, follow_newest
from streams.topics import Topic

_PATIENCE_S: Final = 2.0
Listen = Callable[[], Awaitable[None]]


class Desks(NamedTuple):
    """Who takes what people say."""

    incidents: Desk
    questions: QuestionDesk


async def send(edges: Edges, topic: Topic, key: str, record: Record) -> None:
    """Returns when the broker has it. Raises Unavailable: the same word may be said again."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await edges.outbox.send(topic, [(key, record)])
    except (TimeoutError, OSError, KafkaError) as error:
        raise Unavailable("the broker does not answer") from error


def open_questions(edges: Edges, stopping: Callable[[], bool]) -> tuple[QuestionDesk, Listen]:
    """The desk, and the loop that keeps the questions it knows current."""
    install, topics, known = edges.install, edges.install.topics, NewestRecords(Question)

    async def follow() -> None:
        name, count = topics.name(Topic.QUESTIONS), topics.count(Topic.QUESTIONS)
        await follow_newest(edges.bootstrap, name, count, known, stopping=stopping)

    async def say(answer: Answer) -> None:
        await send(edges, Topic.KEY_ASKS, answer.question_id, answer)

    async def refused(question: Question, answer: Answer, why: str) -> None:
        await send(edges, Topic.AUDIT, question.about, answer_row(question, answer, "refused", why))

    desk = QuestionDesk(
        people=lambda: install.people, known=known.get, send=say, refused=refused, now_ms=wall_ms, sleep=asyncio.sleep
    )
    return desk, follow
