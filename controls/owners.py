"""Who answers for a key: its owner, and who is asked when there is none. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from controls.people import RANKS, People
from schemas.config.people import Role
from schemas.key_record import KeyRecord

Approvers = Mapping[str, tuple[str, ...]]
"""By team: who approves its keys, as keys.yaml has it."""


def approvers_of(entry: KeyRecord, approvers: Approvers, people: People, *, but: Collection[str] = ()) -> list[str]:
    """Whom keys.yaml names for the key's team, else everybody with the role approver; less who is in `but`.

    >>> entry = KeyRecord(key_id="k", seq=0, at_ms=0, by="", change="", kind="virtual", state="active", provider="x",
    ...                   team="search")
    >>> from controls.people import NOBODY
    >>> approvers_of(entry, {"search": ("ada", "bo")}, NOBODY, but={"ada"}), approvers_of(entry, {}, NOBODY)
    (['bo'], [])
    """
    return approvers_for((entry.team,), approvers, people, but=but)


def approvers_for(
    teams: Collection[str], approvers: Approvers, people: People, *, but: Collection[str] = ()
) -> list[str]:
    """The same for several teams. Where all that are named are left out, others with the role are asked instead.

    >>> from controls.people import NOBODY
    >>> approvers_for(("search", "ads"), {"search": ("ada", "bo"), "ads": ("bo", "cy")}, NOBODY, but={"Ada"})
    ['bo', 'cy']
    """
    out = {name.lower() for name in but}
    named = dict.fromkeys(name for team in teams for name in approvers.get(team, ()) if name.lower() not in out)
    return list(named) or [name for name in people.with_role("approver") if name.lower() not in out]


def is_known(name: str, people: People) -> bool:
    """Whether somebody of that name can be asked: where people.yaml names nobody, everybody can."""
    return bool(name) and (not people.enforced or people.named(name) is not None)


def asked_for(entry: KeyRecord, approvers: Approvers, people: People) -> tuple[str, ...]:
    """Its owner, where somebody of that name is known; else the approvers."""
    return (entry.owner,) if is_known(entry.owner, people) else tuple(approvers_of(entry, approvers, people))


def may_act(name: str, entry: KeyRecord, people: People, *, needs: Role = "approver") -> str:
    """Why this person may not say what becomes of the key; empty when they may: its owner, or whoever has the role."""
    if not name:
        return "it does not say who asks"
    if not people.enforced:
        return ""
    person = people.named(name)
    if person is None:
        return f"{name} is not in people.yaml"
    if name == entry.owner or RANKS.index(person.role) >= RANKS.index(needs):
        return ""
    owner = entry.owner or "nobody"
    return f"{name} is {person.role}; the key is {owner}'s, and it needs {needs} otherwise"
