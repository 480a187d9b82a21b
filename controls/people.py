"""Who may say what. A signature proves where a word came from; whether it counts is decided here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from schemas.config.people import PeopleConfig, Role
from schemas.records import PeoplesAction, Via

RANKS: Final[tuple[Role, ...]] = ("viewer", "responder", "approver", "admin")
Deed = PeoplesAction | Literal["hold", "unhold"]
"""What roles are for: what people say of a key, and what keeps the evidence."""
NEEDED: Final[Mapping[Deed, Role]] = {
    "acknowledge": "responder", "snooze": "responder", "expected": "responder", "resolve": "responder",
    "false_positive": "responder", "contain": "responder", "approve": "responder", "reject": "responder",
    "restore": "responder", "freeze": "responder", "unfreeze": "approver", "hold": "responder", "unhold": "approver",
}  # fmt: skip
"""The least role for each action. Of `contain` and `approve` it is for steps that can be undone."""
PROVED: Final[frozenset[Via]] = frozenset({"slack", "pagerduty"})
"""Where a signature and people.yaml say who it is; elsewhere a name is a word."""


class Person(NamedTuple):
    """Somebody of `people.yaml`."""

    name: str
    role: Role


class People:
    """Everybody of `people.yaml`, by each name they go by."""

    def __init__(self, config: PeopleConfig) -> None:
        self._proved_only = config.final_needs_proof
        self._named = {name: Person(name, person.role) for name, person in config.people.items()}
        self._slack = {person.slack: self._named[name] for name, person in config.people.items() if person.slack}
        self._slack_of = {name: person.slack for name, person in config.people.items() if person.slack}
        self._pagerduty = {
            person.pagerduty: self._named[name] for name, person in config.people.items() if person.pagerduty
        }

    @property
    def enforced(self) -> bool:
        """False as long as nobody is named: then every word counts."""
        return bool(self._named)

    def named(self, name: str) -> Person | None:
        """By the name in `people.yaml`."""
        return self._named.get(name)

    def slack_of(self, name: str) -> str:
        """Their member id in Slack; empty where none is known."""
        return self._slack_of.get(name, "")

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Everybody who has this role or more, in the order of their names."""
        least = RANKS.index(role)
        return tuple(sorted(name for name, person in self._named.items() if RANKS.index(person.role) >= least))

    def of_slack(self, member_id: str) -> Person | None:
        return self._slack.get(member_id)

    def of_pagerduty(self, user_id: str) -> Person | None:
        return self._pagerduty.get(user_id)

    def why_not(self, name: str, action: Deed, *, via: Via = "terminal", final: bool = False) -> str:
        """Why this person's word does not count for this action; empty when it does.

        Args:
            name: As in `people.yaml`.
            action: What they ask for.
            via: Where they said it.
            final: The step cannot be undone: that needs an approver.
        """
        if via == "identity":  # it has judged who may; what cannot be undone is never its to order
            known = action in {"contain", "restore"} and not final
            return "" if known else f"{_words(action)}{' for good' if final else ''} needs a person's own word"
        if not self.enforced:
            # Whoever is in the chat or on the rota is not known here: they may say that they look, and touch no key.
            known = via not in PROVED or action == "acknowledge"
            return "" if known else f"people.yaml names nobody, and {_words(action)} needs somebody it names"
        person = self._named.get(name)
        if person is None:
            return f"{name or 'somebody without a name'} is not in people.yaml"
        final = final and action in {"contain", "approve"}
        needed: Role = "approver" if final else NEEDED[action]
        if RANKS.index(person.role) < RANKS.index(needed):
            return f"{name} is {person.role}; {_words(action)}{' for good' if final else ''} needs {needed}"
        if final and self._proved_only and via not in PROVED:
            return f"{_words(action)} for good counts only in Slack, where it is proved who says it"
        return ""


NOBODY: Final = People(PeopleConfig())
"""Nobody is named, so every word at a terminal counts."""


def _words(action: Deed) -> str:
    return action.replace("_", " ")
