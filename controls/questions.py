"""Whose answer to a question counts. Pure: where people click it refuses early, the identity stage decides by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controls.people import PROVED, RANKS, People
from schemas.question import Answer, Question, Reminder, Unanswered
from schemas.records import AuditRow, stable_id

_SOON_MS: Final = 60_000


def why_not(question: Question, answer: Answer, people: People) -> str:
    """Why this answer does not count; empty when it does.

    Who is asked may answer, and who has the role that the question needs; never whose wish it is.
    """
    ended = _ended(question)
    if ended:
        return ended
    if question.choice(answer.choice) is None:
        names = " or ".join(each.name for each in question.choices)
        return f"{answer.choice} is no answer to it: choose {names}"
    if not answer.by:
        return "it does not say who answers"
    if question.asked_by and answer.by.lower() == question.asked_by.lower():
        return f"{answer.by} asked for it: somebody else has to answer"
    return _no_right(question, answer, people)


def _ended(question: Question) -> str:
    if question.state == "withdrawn":
        return f"the question is withdrawn: {question.outcome or 'no answer is needed any more'}"
    if question.state == "answered":
        return f"{question.answered_by} has answered it already: {_label(question, question.answer)}"
    return "" if question.choices else "it asks for a deed, not for a word: do what it says"


def answered(question: Question, answer: Answer, outcome: str) -> Question:
    """The version after an answer that counts; `outcome` says what came of it."""
    return question.model_copy(
        update={"state": "answered", "answered_by": answer.by, "answer": answer.choice, "outcome": outcome}
    )


def withdrawn(question: Question, outcome: str) -> Question:
    """The version after which nobody is asked any more; `outcome` says why."""
    return question.model_copy(update={"state": "withdrawn", "outcome": outcome})


def next_step(question: Question, now_ms: int) -> Unanswered | None:
    """What is due because nobody answers; None when nothing is. One that harms waits until somebody was asked."""
    if question.state != "open" or len(question.reminders) >= len(question.steps):
        return None
    step = question.steps[len(question.reminders)]
    ready = now_ms >= step.at_ms and (question.shown_at_ms is not None or not step.harms)
    return step if ready else None


def reminded(question: Question, words: str, now_ms: int, *, to: Iterable[str] = ()) -> Question:
    """The version after the next step was taken. One that comes late moves those behind it: none is ever skipped.

    Args:
        question: Before.
        words: What is said under the message.
        now_ms: When the step is taken.
        to: Who is asked from now on, besides those who were.
    """
    taken = len(question.reminders)
    late_ms = max(0, now_ms - question.steps[taken].at_ms)
    return question.model_copy(
        update={
            "reminders": (*question.reminders, Reminder(at_ms=now_ms, words=words)),
            "to": tuple(dict.fromkeys((*question.to, *to))), "steps": _moved(question.steps, late_ms, taken),
            "deadline_ms": question.deadline_ms + late_ms if question.deadline_ms is not None else None,
        }
    )  # fmt: skip


def shown(question: Question, at_ms: int) -> Question:
    """The version after somebody was shown it: the time they have counts from then, give or take a minute."""
    late_ms = max(0, at_ms - question.asked_at_ms)
    if late_ms < _SOON_MS:
        late_ms = 0  # else every message would be edited right after it was posted
    return question.model_copy(
        update={
            "shown_at_ms": at_ms, "steps": _moved(question.steps, late_ms, len(question.reminders)),
            "deadline_ms": question.deadline_ms + late_ms if question.deadline_ms is not None else None,
        }
    )  # fmt: skip


def _moved(steps: tuple[Unanswered, ...], by_ms: int, taken: int) -> tuple[Unanswered, ...]:
    later = (step.model_copy(update={"at_ms": step.at_ms + by_ms}) for step in steps[taken:])
    return (*steps[:taken], *later)


def _no_right(question: Question, answer: Answer, people: People) -> str:
    if not people.enforced:
        known = answer.via not in PROVED
        return "" if known else "people.yaml names nobody, and an answer needs somebody it names"
    person = people.named(answer.by)
    if person is None:
        return f"{answer.by} is not in people.yaml"
    if answer.by in question.to or RANKS.index(person.role) >= RANKS.index(question.needs):
        return ""
    asked = ", ".join(question.to) or "nobody by name"
    return f"{answer.by} is {person.role}; asked is {asked}, and it needs {question.needs} otherwise"


def _label(question: Question, name: str) -> str:
    choice = question.choice(name)
    return choice.label if choice else name


def answer_row(question: Question, answer: Answer, result: str, why: str) -> AuditRow:
    """What the audit keeps of an answer: the same answer said again is the same row."""
    audit_id = stable_id("answer", answer.question_id, answer.by, answer.choice, str(answer.at_ms), result)
    return AuditRow(
        audit_id=audit_id, at_ms=answer.at_ms, actor=answer.by, action=f"answer_{question.kind}",
        key_id=question.about, incident_id="", command_id="", result=result,
        detail={
            "question": question.question_id, "choice": answer.choice, "via": answer.via, "reason": answer.reason,
            "why": why,
        },
    )  # fmt: skip
