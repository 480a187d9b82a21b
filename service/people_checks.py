"""What one person of `people.yaml` cannot know of another."""

from __future__ import annotations

from typing import Final

from service.config_errors import did_you_mean, shown
from service.config_tree import Folder
from service.field_checks import Errors, Sources

_IDS: Final = ("slack", "pagerduty")


def one_person_each(folder: Folder, sources: Sources) -> Errors:
    """An id that two people have would lend one of them the other's role and name."""
    for place in _IDS:
        first: dict[str, str] = {}
        for name, person in folder.people.people.items():
            known = getattr(person, place)
            if known and known in first:
                expected = f"an id of {name} alone: {first[known]} has this one"
                yield sources["people"].error(("people", name, place), shown(known), expected)
            first.setdefault(known, name)


def approvers_are_people(folder: Folder, sources: Sources) -> Errors:
    """Somebody who is not there is never asked, and a request waits for nobody."""
    people = folder.people.people
    for team, approvers in folder.keys.issuing.approvers.items() if people else ():
        for index, name in enumerate(approvers):
            if name not in people:
                expected = did_you_mean(name, people, otherwise="somebody of people.yaml:")
                yield sources["keys"].error(("issuing", "approvers", team, index), shown(name), expected)
