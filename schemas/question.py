"""What people are asked with buttons, and what they answer: one mechanism for requests, exceptions and revalidation.

A question is a record of which the newest version holds, by `question_id`. Its message is made and edited from it, so
whatever becomes of it is told by its next version.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.config.people import Role
from schemas.records import Record, Via
from schemas.redact import redact

QuestionKind = Literal["key_request", "revalidation", "exception", "rotation"]
QuestionState = Literal["open", "answered", "withdrawn"]
ChoiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Choice(Record):
    """One thing that can be answered."""

    name: ChoiceName  # as it is typed: `keyfuse answer QUESTION NAME`
    label: str  # as it stands on the button
    style: Literal["", "primary", "danger"] = ""


class Unanswered(Record):
    """What happens while nobody answers: stated in the question before it happens, and never earlier than stated."""

    name: str
    at_ms: int
    words: str
    harms: bool = False  # it touches the key: never done before somebody was shown the question


class Reminder(Record):
    """What was said under the message since, and when."""

    at_ms: int
    words: str


class Question(Record):
    """One version of one question."""

    type: Literal["question"] = "question"
    question_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9:._-]{1,120}$")]
    kind: QuestionKind
    about: str  # the key_id, or the id of the request or exception
    asked_at_ms: int
    to: tuple[str, ...]  # who is asked, as in people.yaml; whoever is added is asked with the next version
    asked_by: str = ""  # whose wish it is: their own answer does not count. Empty: Keyfuse asks by itself
    team: str = "unknown"  # whose route shows it where somebody cannot be written to directly
    needs: Role = "approver"  # whoever has this role may answer besides those of `to`
    title: str
    lines: dict[str, str] = Field(default_factory=dict)  # label → words, in order: what there is to know
    choices: tuple[Choice, ...] = Field(max_length=5)  # none: it asks for a deed, not for a word
    deadline_ms: int | None = None
    steps: tuple[Unanswered, ...] = ()  # in the order of their times
    reminders: tuple[Reminder, ...] = ()  # the newest last, each is told once; of `steps` so many are taken
    shown_at_ms: int | None = None  # when the first person was shown it; None: nobody yet
    state: QuestionState = "open"
    answered_by: str = ""
    answer: str = ""  # the choice's name
    outcome: str = ""  # what came of it, in words

    def choice(self, name: str) -> Choice | None:
        return next((choice for choice in self.choices if choice.name == name), None)


class QuestionShown(Record):
    """Somebody has the question before their eyes: notify tells the identity stage, once for each question."""

    type: Literal["question_shown"] = "question_shown"
    question_id: str
    at_ms: int


class Answer(Record):
    """What somebody said to a question, on its way to the identity stage, which judges it."""

    type: Literal["answer"] = "answer"
    question_id: str
    by: str
    choice: str
    reason: Annotated[str, AfterValidator(redact)] = ""
    via: Via = "terminal"
    at_ms: int
