"""Where a question is shown: to each person who can be written to, else where their team is told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from pydantic import Field

from schemas.config.routes import RoutesConfig
from schemas.question import Question
from schemas.records import Record, stable_id


class Place(NamedTuple):
    """One message of one question."""

    channel: str  # as in routes.yaml
    member: str = ""  # whom to write to directly, by the channel's own id; empty: where the channel writes

    def text(self) -> str:
        return f"{self.channel}|{self.member}"

    @classmethod
    def of(cls, text: str) -> Place:
        channel, _, member = text.rpartition("|")
        return cls(channel, member)


class Shown(Record):
    """What one message shows. The caller stores it, so that the next version edits instead of repeats."""

    digest: str  # of the version
    reminded: int  # how many of its reminders are told
    ids: dict[str, str] = Field(default_factory=dict)  # the channel's own: a message's id, a conversation


class Asked(Record):
    """All messages of one question, by place."""

    question_id: str
    shown: dict[str, Shown] = Field(default_factory=dict)

    def places(self) -> tuple[Place, ...]:
        return tuple(Place.of(text) for text in self.shown)

    def at(self, place: Place) -> Shown | None:
        return self.shown.get(place.text())

    def now_shown(self, place: Place, shown: Shown) -> Asked:
        return self.model_copy(update={"shown": {**self.shown, place.text(): shown}})


def digest_of(question: Question) -> str:
    """Names the version: the same words again are no news."""
    return stable_id("qst", question.model_dump_json(exclude={"shown_at_ms"}))


def places(
    question: Question, routes: RoutesConfig, *, asking: Mapping[str, bool], member: Callable[[str], str]
) -> tuple[Place, ...]:
    """Where this version belongs.

    Args:
        question: The version.
        routes: `routes.yaml`.
        asking: The channels that can ask → whether they hear answers.
        member: Somebody's id where the channel is; empty where nobody knows it.
    """
    by_ear = sorted(asking, key=lambda name: not asking[name])  # stable: as routes.yaml has them
    if not by_ear:
        return ()
    direct = [Place(by_ear[0], member(person)) for person in question.to if member(person)]
    if len(direct) < max(len(question.to), 1):
        return (*direct, *team_places(question, routes, asking=by_ear))
    return tuple(direct)


def team_places(question: Question, routes: RoutesConfig, *, asking: Collection[str]) -> tuple[Place, ...]:
    """Where the team's first route that can ask writes; the first channel that can where no route says.

    Args:
        question: Whose team is looked for.
        routes: `routes.yaml`.
        asking: The channels that can ask, the preferred one first.
    """
    for route in routes.routes:
        found = [name for name in route.channels if name in asking]
        if found and (not route.teams or question.team in route.teams):
            return tuple(Place(name) for name in found)
    return tuple(Place(name) for name in list(asking)[:1])
