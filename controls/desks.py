"""What the desks of the identity plane share: what they stand on, and what they tell. Pure.

One process reads what people ask of keys (streams/identity.py). Each desk judges its own kind of message by the state
as it is then, and says what follows from it; the stage carries that out, all of it or nothing, also through a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

from controls.people import NOBODY, People
from controls.registry import Registry
from schemas.config.keys import KeysConfig
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.key_record import KeyRecord
from schemas.minting import MintOrder
from schemas.question import Answer, Question, QuestionKind
from schemas.records import AuditRow, Finding, Mark, Record, Request


@dataclass(frozen=True)
class Told:
    """What follows from one message, or from the hour: each record goes where its kind goes."""

    keys: tuple[KeyRecord, ...] = ()
    exceptions: tuple[PolicyException, ...] = ()
    questions: tuple[Question, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    requests: tuple[Request, ...] = ()
    findings: tuple[Finding, ...] = ()
    marks: tuple[Mark, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    orders: tuple[MintOrder, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    @staticmethod
    def all_of(several: Iterable[Told]) -> Told:
        """As one, in their order.

        >>> bool(Told.all_of([Told(), Told()]))
        False
        """
        tolds = list(several)
        return Told(**{
            one.name: tuple(record for told in tolds for record in getattr(told, one.name)) for one in fields(Told)
        })  # fmt: skip


NOTHING = Told()


@dataclass
class IdentityState:
    """What holds now. The stage changes it by what desks tell; desks only look."""

    registry: Registry = field(default_factory=lambda: Registry(KeysConfig()))  # keys.yaml, and how each key went on
    exceptions: dict[str, PolicyException] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    follow_ups: dict[str, FollowUp] = field(default_factory=dict)
    people: People = NOBODY

    def take(self, told: Told) -> None:
        """From now on this holds."""
        for record in told.keys:
            self.registry.take(record)
        self.exceptions |= {exception.exception_id: exception for exception in told.exceptions}
        self.questions |= {question.question_id: question for question in told.questions}
        self.follow_ups |= {each.follow_up_id: each for each in told.follow_ups}


class IdentityDesk(Protocol):
    """One kind of business with keys. Made anew with each change of the configuration, so it keeps nothing."""

    @property
    def takes(self) -> Mapping[str, type[Record]]:
        """The messages it judges, by their `type`."""
        ...

    @property
    def kinds(self) -> frozenset[QuestionKind]:
        """The questions whose answers it judges."""
        ...

    def take(self, message: Record, state: IdentityState, now_ms: int) -> Told:
        """What follows from a message. An answer comes here only when its question is known; it may be closed."""
        ...

    def due(self, state: IdentityState, now_ms: int) -> Told:
        """What the hour brings; asked every few seconds. Told once, it must not be told again."""
        ...


def desk_of(desks: Iterable[IdentityDesk], message: Record, state: IdentityState) -> IdentityDesk | None:
    """Whose business the message is; None for an answer to a question that nobody knows."""
    if isinstance(message, Answer):
        question = state.questions.get(message.question_id)
        return next((desk for desk in desks if question is not None and question.kind in desk.kinds), None)
    kind = getattr(message, "type", "")
    return next((desk for desk in desks if kind in desk.takes), None)
