"""The desk where keys are asked for: gives at once what needs no person, asks people for the rest, ends what is over.

Pure. A repeat of a request changes nothing: one request makes one key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controls.desks import NOTHING, IdentityState, Told
from controls.issued_elsewhere import ENDS_ITSELF, MAKING, cut_for, life_row, made_again, minted, order_for
from controls.issuing import DAY_MS, Rules, key_of, lines_of, problems, quota_of, why_a_person, why_no_room
from controls.owners import approvers_of
from controls.questions import answer_row, answered, next_step, reminded, why_not, withdrawn
from controls.slices import slice_of
from schemas.config.budgets import BudgetConfig
from schemas.key_ask import KeyAsk
from schemas.key_record import SERVED, KeyRecord
from schemas.minting import Minted
from schemas.question import Answer, Choice, Question, QuestionKind, Unanswered
from schemas.records import AuditRow, KeyFacts, Record, stable_id
from schemas.spend import BudgetStatus

APPROVE: Final = "approve"
REFUSE: Final = "refuse"
_REMIND: Final = "remind"
WAITS: Final = "asked for; waits for an approver: "
_CHOICES: Final = (
    Choice(name=APPROVE, label="Approve", style="primary"),
    Choice(name=REFUSE, label="Refuse", style="danger"),
)


class IssuingDesk:
    """One kind of business with keys: see `controls/desks.py`."""

    takes: Mapping[str, type[Record]] = {"key_ask": KeyAsk, "minted": Minted}
    kinds: frozenset[QuestionKind] = frozenset({"key_request"})

    def __init__(
        self, rules: Rules, *, budgets: Callable[[KeyFacts], Iterable[BudgetConfig]] = lambda _: (),
        standing: Mapping[str, BudgetStatus] | None = None,
    ) -> None:  # fmt: skip
        """`budgets` are those a key would be under, `standing` where each of them is."""
        self._rules, self._issuing = rules, rules.issuing
        self._budgets, self._standing = budgets, standing or {}

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        if isinstance(message, Answer):
            return self._answer(message, state, now_ms)
        if isinstance(message, Minted):
            return minted(message, state.registry, now_ms)
        assert isinstance(message, KeyAsk)  # noqa: S101 - it takes nothing else
        known = state.registry.asked_for(message.request_id)
        if known is not None:
            words = "this request was answered before, with another key or for another purpose"
            return NOTHING if _same(message, known) else Told(audit=(_row(message, "refused", words, now_ms),))
        if state.registry.entry(message.key_id) is not None or not (message.key_id or message.seal_to):
            return Told(audit=(_row(message, "refused", "it names no key of its own", now_ms),))
        return self._judge(message, state, now_ms)

    def due(self, state: IdentityState, now_ms: int) -> Told:
        """Keys whose time is over, requests that nobody answered, credentials that nobody made."""
        told = [
            self._of_key(key, state, now_ms) for key in slice_of(state.registry.entries(), now_ms) if key.request_id
        ]
        return Told.all_of([*filter(None, told), *self._unanswered(state, now_ms)])

    def _of_key(self, key: KeyRecord, state: IdentityState, now_ms: int) -> Told | None:
        if key.state != "pending":
            # A replaced key ends with a proof: see controls/rotation.py.
            lives = key.state in SERVED and key.state != "retiring"
            over = lives and key.expires_ms is not None and now_ms >= key.expires_ms
            return self._ended(key, now_ms) if over else None
        if waits(key):  # for an answer to a question that may be lost, with a broker that forgets
            lost = question_of(key) not in state.questions
            return Told(questions=(self._question(key, now_ms),)) if lost else None
        return made_again(key, now_ms)

    def _judge(self, ask: KeyAsk, state: IdentityState, now_ms: int) -> Told:
        wrong = problems(ask.by, ask.wish, state.registry, self._rules)
        if wrong:
            why = "; ".join(f"{each.field}: {each.words}" for each in wrong)
            key = key_of(ask, self._issuing, state="refused", change=f"refused: {why}", now_ms=now_ms)
            return Told(keys=(key,), audit=(_row(ask, "refused", why, now_ms, key),))
        rule, facts = (
            self._issuing.rule(ask.wish.env),
            KeyFacts(provider="", team=ask.wish.team, app=ask.wish.app, env=ask.wish.env),
        )
        why_asked = why_a_person(ask, rule, state.registry)
        why_asked += why_no_room(quota_of(ask.wish, rule), self._budgets(facts), self._standing, now_ms)
        if why_asked:
            return self._ask(ask, why_asked, now_ms)
        at_once = "issued at once, by the rule of its environment"
        if ask.wish.kind == "provider":
            key = key_of(ask, self._issuing, state="pending", change=f"{at_once}; {MAKING}", now_ms=now_ms)
            return Told(
                keys=(key,), orders=(order_for(key, now_ms),), audit=(_row(ask, "ordered", at_once, now_ms, key),)
            )
        key = key_of(ask, self._issuing, state="active", change=at_once, now_ms=now_ms)
        return Told(keys=(key,), audit=(_row(ask, "issued", key.change, now_ms, key),))

    def _ask(self, ask: KeyAsk, why: list[str], now_ms: int) -> Told:
        words = "; ".join(why)
        key = key_of(ask, self._issuing, state="pending", change=f"{WAITS}{words}", now_ms=now_ms)
        return Told(
            keys=(key,), questions=(self._question(key, now_ms),), audit=(_row(ask, "waits", words, now_ms, key),)
        )

    def _question(self, key: KeyRecord, now_ms: int) -> Question:
        steps = self._steps(now_ms)
        return Question(
            question_id=question_of(key), kind="key_request", about=key.key_id, asked_at_ms=now_ms,
            to=self._approvers(key), asked_by=key.by, team=key.team, needs="approver",
            title=f"{key.by} asks for a key for {key.team}/{key.app} in {key.env}",
            lines=lines_of(key, key.change.removeprefix(WAITS)), choices=_CHOICES, steps=steps,
            deadline_ms=steps[-1].at_ms,
        )  # fmt: skip

    def _approvers(self, key: KeyRecord) -> tuple[str, ...]:
        """Never who asks: they could not answer, and would be the only one to know of it."""
        return tuple(approvers_of(key, self._issuing.approvers, self._rules.people, but={key.by}))

    def _answer(self, answer: Answer, state: IdentityState, now_ms: int) -> Told:
        question = state.questions[answer.question_id]
        key = state.registry.entry(question.about)
        stop = why_not(question, answer, state.people)
        if not stop and (key is None or not waits(key)):
            stop = "the key does not wait for an answer any more"
        if stop or key is None:
            again = (question.answered_by, question.answer) == (answer.by, answer.choice)
            return NOTHING if again else Told(audit=(answer_row(question, answer, "refused", stop),))
        reason = f": {answer.reason}" if answer.reason else ""
        if answer.choice == APPROVE:
            changed = self._approved(key, answer, now_ms, reason)
        else:
            changed = key.next(at_ms=now_ms, by=answer.by, change=f"refused by {answer.by}{reason}", state="refused")
        return Told(
            keys=(changed,), questions=(answered(question, answer, changed.change),),
            audit=(answer_row(question, answer, "taken", changed.change),),
            orders=(order_for(changed, now_ms),) if changed.state == "pending" else (),
        )  # fmt: skip

    def _approved(self, key: KeyRecord, answer: Answer, now_ms: int, reason: str) -> KeyRecord:
        """Its time begins now: whoever waited does not lose any of it."""
        waited_ms, virtual = now_ms - (key.created_ms or now_ms), key.kind == "virtual"
        return key.next(
            at_ms=now_ms, by=answer.by, change=f"approved by {answer.by}{reason}{'' if virtual else f'; {MAKING}'}",
            state="active" if virtual else "pending",
            approved_by=answer.by, expires_ms=key.expires_ms and key.expires_ms + waited_ms, revalidated_ms=now_ms,
        )  # fmt: skip

    def _ended(self, key: KeyRecord, now_ms: int) -> Told:
        ended = key.next(at_ms=now_ms, by="keyfuse", change="its time is over", state="retired")
        ends_itself = key.kind == "virtual" or self._rules.minting.get(key.provider) in ENDS_ITSELF
        return Told(keys=(ended,), audit=(life_row(ended),), requests=() if ends_itself else (cut_for(ended),))

    def _unanswered(self, state: IdentityState, now_ms: int) -> Iterable[Told]:
        for question in state.questions.values():
            step = next_step(question, now_ms) if question.kind == "key_request" else None
            if step is None:
                continue
            key = state.registry.entry(question.about)
            if key is None or not waits(key):
                yield Told(questions=(withdrawn(question, "no answer is needed any more"),))
            elif step.name == _REMIND:
                yield Told(questions=(reminded(question, f"still waits for an answer: {step.words}", now_ms),))
            else:
                words = f"refused: nobody answered within {self._issuing.approval_days:g} days"
                refused = key.next(at_ms=now_ms, by="keyfuse", change=words, state="refused")
                yield Told(keys=(refused,), questions=(withdrawn(question, words),), audit=(life_row(refused),))

    def _steps(self, now_ms: int) -> tuple[Unanswered, ...]:
        whole_ms = round(self._issuing.approval_days * DAY_MS)
        return (
            Unanswered(name=_REMIND, at_ms=now_ms + whole_ms // 2, words="who asked goes without a key meanwhile"),
            Unanswered(name=REFUSE, at_ms=now_ms + whole_ms, words="the request is refused"),
        )


def _same(ask: KeyAsk, known: KeyRecord) -> bool:
    wish = ask.wish
    asked = (wish.team, wish.app, wish.env, wish.purpose)
    return ask.key_id in ("", known.key_id) and asked == (known.team, known.app, known.env, known.purpose)


def waits(key: KeyRecord) -> bool:
    """Whether somebody has to approve it first."""
    return key.state == "pending" and key.change.startswith(WAITS)


def question_of(key: KeyRecord) -> str:
    """The question about a key that waits."""
    return f"key:{key.request_id}"


def _row(ask: KeyAsk, result: str, why: str, now_ms: int, key: KeyRecord | None = None) -> AuditRow:
    key_id = key.key_id if key is not None else ask.key_id
    wish = ask.wish.model_dump(mode="json", exclude_defaults=True)
    return AuditRow(
        audit_id=stable_id("aud", "key_ask", ask.request_id, key_id, result), at_ms=now_ms, actor=ask.by,
        action="key_ask", key_id=key_id, incident_id="", command_id="", result=result,
        detail={"request_id": ask.request_id, "via": ask.via, "why": why, "wish": wish},
    )  # fmt: skip
