"""What a person reads before they cut a key, in words that need no knowledge of providers. Who composes fills it."""

from __future__ import annotations

from typing import NamedTuple

from schemas.records import KeyFacts, Step


class StepWords(NamedTuple):
    """One step that could be taken."""

    step: Step
    name: str  # what it does
    undo: str  # can it be undone, how far does it reach, how long does it take
    breaks: str
    also_hits: str  # other keys that stop working; empty: none
    people: int  # who must stand behind it, who orders it among them
    state: str  # where it stands in this incident; empty: not ordered


class PlanWords(NamedTuple):
    """The plan for one key. `steps` is empty where nothing can be done; then `why_none` says what to do instead."""

    about: tuple[tuple[str, str], ...]  # label, value: key, owner, provider, mode, a backup if there is one
    next: str  # what happens if nobody does anything
    at_stake: str  # what is lost if nobody does anything
    steps: tuple[StepWords, ...]
    why_none: str = ""


class KillWanted(NamedTuple):
    """Which keys somebody typed: by name, or all of a team, an app, an environment."""

    keys: tuple[str, ...] = ()
    team: str | None = None
    app: str | None = None
    env: str | None = None


class KillOrder(NamedTuple):
    """One key that would be cut."""

    key_id: str
    step: Step
    facts: KeyFacts


class KillList(NamedTuple):
    """What an emergency switch would do, key by key."""

    lines: tuple[str, ...]  # every key that was meant, also those that cannot be cut like this
    orders: tuple[KillOrder, ...]  # those that can
