"""Answers to questions: a known question, somebody who may answer it; then a record for the identity stage.

The identity stage judges it again. Here it is judged so that who may not is told so at once, where they clicked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from alerting.answers.desk import Answer as Told
from alerting.deliver import Sleep
from alerting.words import clean
from controls.people import People, Person
from controls.questions import why_not
from schemas.question import Answer, Question
from schemas.records import Via
from schemas.redact import redact

_REASON_MAX: Final = 500
_CATCH_UP_S: Final = 0.1  # what is known here follows the topic, as the message that was pressed does
_CATCH_UP_TRIES: Final = 20


class Reply(NamedTuple):
    """One answer of one person. Nothing in it is trusted but `via` and `who`, which a signature proved."""

    question_id: str
    choice: str
    via: Via
    who: str  # their id there
    person: Person | None  # who they are by people.yaml
    reason: str = ""


class QuestionDesk:
    """Takes answers. `send` passes on what counts, `refused` keeps what does not; both may raise Unavailable."""

    def __init__(
        self,
        *,
        people: Callable[[], People],
        known: Callable[[str], Question | None],
        send: Callable[[Answer], Awaitable[None]],
        refused: Callable[[Question, Answer, str], Awaitable[None]],
        now_ms: Callable[[], int],
        sleep: Sleep,
    ) -> None:
        self._people = people
        self._known = known
        self._send = send
        self._refused = refused
        self._now_ms = now_ms
        self._sleep = sleep

    async def say(self, reply: Reply) -> Told:
        """Check it and send it; a question that was just asked is waited for."""
        question = await self._find(reply.question_id)
        if question is None:
            return Told(False, f"No question {clean(reply.question_id, 80)} is known here; it may be too old.", False)
        answer = Answer(
            question_id=question.question_id, by=reply.person.name if reply.person else reply.who, choice=reply.choice,
            reason=redact(reply.reason)[:_REASON_MAX], via=reply.via, at_ms=self._now_ms(),
        )  # fmt: skip
        stranger = reply.person is None and self._people().enforced  # an id is no name, even where it looks like one
        stop = f"{reply.who} is not in people.yaml" if stranger else why_not(question, answer, self._people())
        if stop:
            await self._refused(question, answer, stop)
            return Told(False, f"Not taken: {stop}.")
        await self._send(answer)
        choice = question.choice(reply.choice)
        return Told(True, f"Taken: {choice.label if choice else reply.choice}, by {answer.by}.")

    async def _find(self, question_id: str) -> Question | None:
        for _ in range(_CATCH_UP_TRIES):
            question = self._known(question_id)
            if question is not None:
                return question
            await self._sleep(_CATCH_UP_S)
        return self._known(question_id)
