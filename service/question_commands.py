"""Questions and answers at the terminal: read from the broker, answered by a record on the same topic as in Slack."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from alerting.words import clean
from controls.questions import why_not
from schemas.question import Answer, Question
from service.errors import UserError
from service.install import Install, wall_ms
from service.newest_of import newest_of
from service.request_commands import person, send
from streams.topics import Topic


def questions(config: Path, *, every: bool, as_json: bool, out: Console) -> None:
    """Those that are open, the oldest first."""
    found = sorted(known(Install.open(config)).values(), key=lambda each: (each.asked_at_ms, each.question_id))
    shown = [each for each in found if every or each.state == "open"]
    for each in shown:
        if as_json:
            out.print(each.model_dump_json(), markup=False)
        else:
            _print(each, out)
    if not shown and not as_json:
        out.print("nothing waits for an answer")


def answer(config: Path, question_id: str, choice: str, *, reason: str, by: str, out: Console) -> None:
    """Checked here, so that a slip is told at once; the identity stage judges it."""
    install = Install.open(config)
    question = known(install).get(question_id)
    if question is None:
        raise UserError(f"no question {question_id} is known; `keyfuse questions` shows what waits")
    said = Answer(question_id=question_id, by=person(by), choice=choice, reason=reason, at_ms=wall_ms())
    stop = why_not(question, said, install.people)
    if stop:
        raise UserError(f"not taken: {stop}")
    send(install, Topic.KEY_ASKS, (question_id, said))
    chosen = question.choice(choice)
    words = chosen.label if chosen else choice
    out.print(f"answered: {words}; `keyfuse questions --all` shows what became of it", markup=False)


def known(install: Install) -> Mapping[str, Question]:
    """All questions by id. UserError when the broker does not answer."""
    return newest_of(install, Topic.QUESTIONS, Question)


def _print(question: Question, out: Console) -> None:
    by = f" by {question.answered_by}: {question.answer}" if question.answered_by else ""
    out.print(f"{question.question_id}  {clean(question.title)} ({question.state}{by})", markup=False)
    for label, words in question.lines.items():
        out.print(f"    {clean(label, 80)}: {clean(words, 500)}", markup=False)
    if question.outcome:
        out.print(f"    Outcome: {clean(question.outcome, 500)}", markup=False)
    if question.state == "open":
        until = _until(question.deadline_ms)
        names = "|".join(choice.name for choice in question.choices)
        asked = ", ".join(question.to) or f"whoever has the role {question.needs}"
        how = f"; keyfuse answer {question.question_id} {names}" if names else ""  # else it asks for a deed
        out.print(f"    asked: {asked}{until}{how}", markup=False)


def _until(deadline_ms: int | None) -> str:
    if deadline_ms is None:
        return ""
    return f"; until {datetime.fromtimestamp(deadline_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
