"""Exceptions from policies and budgets: asked for by one person, approved by another, over by themselves. Pure.

A desk of the identity stage (controls/desks.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from controls.desks import NOTHING, IdentityState, Told
from controls.owners import approvers_for
from controls.people import People
from controls.questions import answer_row, answered, why_not, withdrawn
from schemas.config.budgets import BudgetsConfig
from schemas.config.keys import KeysConfig
from schemas.config.policies import PoliciesConfig
from schemas.exception import OF_BUDGETS, ExceptionState, PolicyException
from schemas.exception_ask import ExceptionAsk, ExceptionEnd
from schemas.question import Answer, Choice, Question, QuestionKind
from schemas.records import AuditRow, Record, rfc3339, stable_id

KEYFUSE: Final = "keyfuse"
_DAY_MS: Final = 86_400_000
_CHOICES: Final = (
    Choice(name="approve", label="Approve", style="primary"),
    Choice(name="refuse", label="Refuse", style="danger"),
)


def id_of(ask: ExceptionAsk) -> str:
    """The same request makes the same exception."""
    return stable_id("exc", ask.request_id)[:16]


def question_id_of(exception_id: str) -> str:
    """Of the question whether it is approved."""
    return f"exc:{exception_id}"


@dataclass(frozen=True)
class ExceptionRules:
    """What the configuration says of exceptions."""

    policies: PoliciesConfig
    budgets: BudgetsConfig
    keys: KeysConfig

    def drafted(self, ask: ExceptionAsk) -> PolicyException:
        """What is asked for, not approved yet.

        Raises:
            ValueError: it cannot be; every reason in one line.
        """
        wrong = list(self._wrong(ask))
        if wrong:
            raise ValueError("; ".join(wrong))
        same = ("rule", "of", "allows", "limit", "keys", "teams", "apps", "envs", "times", "from_ms", "until_ms", "by")
        try:
            return PolicyException(
                **{name: getattr(ask, name) for name in same}, exception_id=id_of(ask), at_ms=ask.at_ms, state="asked",
                change=f"asked for by {ask.by}", reason=ask.reason, owner=ask.owner or ask.by, asked_at_ms=ask.at_ms,
            )  # fmt: skip
        except ValidationError as error:
            raise ValueError("; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())) from None

    def approvers(self, one: PolicyException, people: People) -> tuple[str, ...]:
        """Who is asked: the approvers of the teams that it is for, else everybody with that role; never who asks."""
        return tuple(approvers_for(one.teams, self.keys.issuing.approvers, people, but={one.by}))

    def _wrong(self, ask: ExceptionAsk) -> list[str]:
        found = []
        names = {policy.name for policy in self.policies.policies}
        budgets = {budget.name for budget in self.budgets.budgets}
        if ask.rule in OF_BUDGETS and ask.of not in budgets:
            found.append(f"there is no budget {ask.of!r} in budgets.yaml")
        if ask.rule not in OF_BUDGETS and ask.of and ask.of not in names:
            found.append(f"there is no policy {ask.of!r} in policies.yaml")
        longest = self.policies.exceptions_max_days
        if ask.until_ms - ask.from_ms > longest * _DAY_MS:
            found.append(f"it may last {longest:g} days at most (exceptions_max_days in policies.yaml)")
        if ask.until_ms <= ask.at_ms:
            found.append("it would be over already")
        if not ask.reason.strip():
            found.append("it says no reason")
        if not ask.by.strip():
            found.append("it does not say who asks")
        return found


class ExceptionDesk:
    """Judges what people ask of exceptions, and ends those whose time is over."""

    takes: Mapping[str, type[Record]] = {"exception_ask": ExceptionAsk, "exception_end": ExceptionEnd}
    kinds: frozenset[QuestionKind] = frozenset({"exception"})

    def __init__(self, rules: ExceptionRules) -> None:
        self._rules = rules

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        if isinstance(message, ExceptionAsk):
            return self._asked(message, state, now_ms)
        if isinstance(message, ExceptionEnd):
            return self._ended(message, state, now_ms)
        return self._answered(message, state, now_ms) if isinstance(message, Answer) else NOTHING

    def due(self, state: IdentityState, now_ms: int) -> Told:
        lives = [one for one in state.exceptions.values() if one.state in {"asked", "active"}]
        over = [one for one in lives if now_ms >= one.until_ms]
        lost = tuple(  # with a broker that forgets: nobody could approve it any more
            self._question(one, state.people, now_ms)
            for one in lives
            if one.state == "asked" and one not in over and question_id_of(one.exception_id) not in state.questions
        )
        return Told.all_of([Told(questions=lost), *(self._over(one, state, now_ms) for one in over)])

    def _asked(self, ask: ExceptionAsk, state: IdentityState, now_ms: int) -> Told:
        if id_of(ask) in state.exceptions:
            return NOTHING  # said once more
        try:
            one = self._rules.drafted(ask)
        except ValueError as error:
            return Told(audit=(_row("exception_ask", id_of(ask), ask.by, now_ms, "refused", str(error)),))
        question = self._question(one, state.people, now_ms)
        row = _row("exception_ask", one.exception_id, ask.by, now_ms, "asked", one.words, reason=one.reason)
        return Told(exceptions=(one,), questions=(question,), audit=(row,))

    def _question(self, one: PolicyException, people: People, now_ms: int) -> Question:
        team = one.teams[0] if len(one.teams) == 1 else "unknown"
        lines = {
            "Allows": one.words, "Lifts": f"{one.rule} of {one.of or 'every policy that has it'}", "Reason": one.reason,
            "Owner": one.owner, "From": rfc3339(one.from_ms), "Until": rfc3339(one.until_ms),
            "Meanwhile": f"detectors expect up to {one.times:g} times the usual of these keys",
        }  # fmt: skip
        return Question(
            question_id=question_id_of(one.exception_id), kind="exception", about=one.exception_id,
            asked_at_ms=now_ms, to=self._rules.approvers(one, people), asked_by=one.by, team=team,
            title=f"{one.by} asks for an exception: {one.words}", lines=lines, choices=_CHOICES,
            deadline_ms=one.until_ms,
        )  # fmt: skip

    def _answered(self, answer: Answer, state: IdentityState, now_ms: int) -> Told:
        question = state.questions[answer.question_id]
        one = state.exceptions.get(question.about)
        stop = why_not(question, answer, state.people)
        if not stop and one is None:
            stop = "the exception is not known"
        if not stop and one is not None and now_ms >= one.until_ms:
            stop = "its time is over"
        if stop or one is None:
            return Told(audit=(answer_row(question, answer, "refused", stop),))
        if answer.choice == "approve":
            later = _next(one, "active", now_ms, f"approved by {answer.by}", approved_by=answer.by)
            outcome = f"approved: {one.words}"
        else:
            why = f": {answer.reason}" if answer.reason else ""
            later = _next(one, "refused", now_ms, f"refused by {answer.by}{why}", ended_by=answer.by)
            outcome = f"refused{why}"
        row = answer_row(question, answer, "taken", outcome)
        return Told(exceptions=(later,), questions=(answered(question, answer, outcome),), audit=(row,))

    def _ended(self, end: ExceptionEnd, state: IdentityState, now_ms: int) -> Told:
        one = state.exceptions.get(end.exception_id)
        stop = self.why_not_end(one, end.by, state.people)
        if stop or one is None:
            return Told(audit=(_row("exception_end", end.exception_id, end.by, now_ms, "refused", stop),))
        why = f"ended by {end.by}{f': {end.reason}' if end.reason else ''}"
        return self._end(one, state, now_ms, why, by=end.by)

    @staticmethod
    def why_not_end(one: PolicyException | None, by: str, people: People) -> str:
        """Why this person cannot end it; empty when they can: the rule that holds again harms nobody but its user."""
        if one is None:
            return "no such exception is known"
        if one.state not in {"asked", "active"}:
            return f"it is {one.state} already"
        return "" if not people.enforced or people.named(by) else f"{by or 'who asks'} is not in people.yaml"

    def _over(self, one: PolicyException, state: IdentityState, now_ms: int) -> Told:
        words = "its time is over" if one.state == "active" else "nobody approved it in its time"
        return self._end(one, state, now_ms, words, by=KEYFUSE)

    def _end(self, one: PolicyException, state: IdentityState, now_ms: int, words: str, *, by: str) -> Told:
        question = state.questions.get(question_id_of(one.exception_id))
        closed = (withdrawn(question, words),) if question is not None and question.state == "open" else ()
        row = _row("exception_end", one.exception_id, by, now_ms, "ended", words)
        return Told(exceptions=(_next(one, "ended", now_ms, words, ended_by=by),), questions=closed, audit=(row,))


def _next(one: PolicyException, state: ExceptionState, now_ms: int, change: str, **more: str) -> PolicyException:
    """The next version. Validated: an approval by who asked is never written, whoever let it come this far."""
    fields = one.model_dump() | {"seq": one.seq + 1, "at_ms": now_ms, "state": state, "change": change} | more
    return PolicyException.model_validate(fields)


def _row(action: str, exception_id: str, by: str, now_ms: int, result: str, words: str, reason: str = "") -> AuditRow:
    detail = {"exception": exception_id, "words": words} | ({"reason": reason} if reason else {})
    return AuditRow(
        audit_id=stable_id("aud", action, exception_id, by, result, words, now_ms // 1000), at_ms=now_ms,
        actor=by or "unknown", action=action, key_id="", incident_id="", command_id="", result=result, detail=detail,
    )  # fmt: skip
