"""Who may say what. A signature proves where a word came from; whether it counts is decided here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.config.people import PeopleConfig, Role
from schemas.records import PeoplesAction

RANKS: Final[tuple[Role, ...]] = ("viewer", "responder", "approver", "admin")
NEEDED: Final[Mapping[PeoplesAction, Role]] = {
    "acknowledge": "responder", "snooze": "responder", "expected": "responder", "resolve": "responder",
    "false_positive": "responder", "contain": "responder", "approve": "responder", "reject": "responder",
    "restore": "responder", "freeze": "responder", "unfreeze": "approver",
}  # fmt: skip
"""The least role for each action. Of `contain` and `approve` it is for steps that can be undone: see `may`."""


class Person(NamedTuple):
    """Somebody of `people.yaml`."""

    name: str
    role: Role


class People:
    """Everybody of `people.yaml`, by each name they go by."""

    def __init__(self, config: PeopleConfig) -> None:
        self._named = {name: Person(name, person.role) for name, person in config.people.items()}
        self._slack = {person.slack: self._named[name] for name, person in config.people.items() if person.slack}
        self._pagerduty = {
            person.pagerduty: self._named[name] for name, person in config.people.items() if person.pagerduty
        }

    @property
    def enforced(self) -> bool:
        """False as long as nobody is named: then every word counts."""
        return bool(self._named)

    def of_slack(self, member_id: str) -> Person | None:
        return self._slack.get(member_id)

    def of_pagerduty(self, user_id: str) -> Person | None:
        return self._pagerduty.get(user_id)

    def why_not(self, name: str, action: PeoplesAction, *, final: bool = False) -> str:
        """Why this person's word does not count for this action; empty when it does.

        Args:
            name: As in `people.yaml`.
            action: What they ask for.
            final: The step cannot be undone: that needs an approver.
        """
        if not self.enforced:
            return ""
        person = self._named.get(name)
        if person is None:
            return f"{name or 'somebody without a name'} is not in people.yaml"
        needed: Role = "approver" if final and action in {"contain", "approve"} else NEEDED[action]
        if RANKS.index(person.role) >= RANKS.index(needed):
            return ""
        what = action.replace("_", " ")
        return f"{name} is {person.role}; {what}{' for good' if final else ''} needs {needed}"
