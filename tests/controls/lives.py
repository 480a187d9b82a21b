"""Keys, people and a clock for tests of the desks: what is told is taken, as the stage does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controls.desks import IdentityState, Told
from controls.life_desk import LifeDesk
from controls.people import People
from controls.registry import Registry
from schemas.config import PeopleConfig
from schemas.config.keys import KeysConfig
from schemas.key_record import KeyRecord
from schemas.question import Answer, Question, QuestionShown
from schemas.records import AuditRow, Mode, Record, Request

DAY_MS, HOUR_MS, T0_MS = 86_400_000, 3_600_000, 1_795_428_000_000
TEAM = People(
    PeopleConfig.model_validate(
        {"people": {"vera": {"role": "viewer"}, "rosa": {"role": "responder"}, "ada": {"role": "approver"},
                    "bo": {"role": "approver"}}}
    )
)  # fmt: skip


def key(key_id: str = "k1", **changes: Any) -> KeyRecord:
    """One of vera's, in use since T0."""
    fields: dict[str, Any] = {
        "seq": 1, "at_ms": T0_MS, "by": "vera", "change": "issued", "kind": "virtual", "state": "active",
        "provider": "keyfuse", "owner": "vera", "purpose": "ranking", "team": "search", "app": "ranker", "env": "prod",
        "created_ms": T0_MS, "rotated_ms": T0_MS, "request_id": f"req-{key_id}",
    }  # fmt: skip
    return KeyRecord(key_id=key_id, **(fields | changes))


@dataclass
class Life:
    """A desk, what it knows, and all that it told."""

    config: KeysConfig = field(default_factory=KeysConfig)
    keys: tuple[KeyRecord, ...] = ()
    people: People = TEAM
    mode: Mode = "auto"
    now_ms: int = T0_MS
    shows: bool = True  # notify shows every question at once
    told: list[Told] = field(default_factory=list)
    state: IdentityState = field(init=False)

    def __post_init__(self) -> None:
        self.state = IdentityState(Registry(self.config), people=self.people)
        self.state.take(Told(keys=self.keys))

    def take(self, message: Record) -> Told:
        return self._taken(self._desk().take(message, self.state, self.now_ms))

    def passes(self, *, days: float = 0, hours: float = 0, steps: int = 1) -> Told:
        """Time passes, in so many steps of the stage's timer; all that it brought."""
        per_ms = round((days * DAY_MS + hours * HOUR_MS) / steps)
        brought = []
        for _ in range(steps):
            self.now_ms += per_ms
            brought.append(self._taken(self._desk().due(self.state, self.now_ms)))
        return Told.all_of(brought)

    def answers(self, question: Question, by: str, choice: str, reason: str = "") -> Told:
        said = Answer(question_id=question.question_id, by=by, choice=choice, reason=reason, at_ms=self.now_ms)
        return self.take(said)

    def key(self, key_id: str = "k1") -> KeyRecord:
        found = self.state.registry.entry(key_id)
        assert found is not None
        return found

    def open(self, kind: str) -> list[Question]:
        return [each for each in self.state.questions.values() if (each.kind, each.state) == (kind, "open")]

    def question(self, kind: str = "revalidation") -> Question:
        (found,) = [each for each in self.state.questions.values() if each.kind == kind]
        return found

    def rows(self, action: str) -> list[AuditRow]:
        return [row for told in self.told for row in told.audit if row.action == action]

    def requests(self) -> list[Request]:
        return [request for told in self.told for request in told.requests]

    def _desk(self) -> LifeDesk:
        return LifeDesk(self.config, lambda key_id, env: self.mode)

    def _taken(self, told: Told) -> Told:
        self.told.append(told)
        self.state.take(told)
        for question in told.questions:
            if self.shows and question.state == "open" and question.shown_at_ms is None:
                self.take(QuestionShown(question_id=question.question_id, at_ms=self.now_ms))
        return told
