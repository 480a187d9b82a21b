"""People's switch for emergencies: which keys are meant, and which step cuts each. Pure; nothing is ever everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from containment.ladder import CUTS, RUNGS
from containment.providers.base import StepSpec
from schemas.records import KeyFacts, Step

NOBODY: Final = "unknown"  # what stands where nobody wrote a team, an app or an environment


class Wanted(NamedTuple):
    """What a person typed: keys by name, or all keys of a team, an app, an environment. None: not asked about."""

    keys: tuple[str, ...] = ()
    team: str | None = None
    app: str | None = None
    env: str | None = None

    def filters(self) -> dict[str, str]:
        asked = {"team": self.team, "app": self.app, "env": self.env}
        return {name: value.strip() for name, value in asked.items() if value is not None}


class Cut(NamedTuple):
    """What is done to one key. `step` is None where nothing is; then `why` says why not."""

    step: Step | None
    why: str


def check_wanted(wanted: Wanted, flag: str = "--{}") -> None:
    """Raises ValueError, in the user's words, for what could mean more than was meant.

    An empty word is what a variable of a script is that nobody set. `flag` is how a filter is typed where it was asked.
    """
    filters = wanted.filters()
    team, app, env = (flag.format(name) for name in ("team", "app", "env"))
    if not wanted.keys and not filters:
        raise ValueError(f"which keys? name them, or give {team}, {app} or {env}; nothing is never read as everything")
    if wanted.keys and filters:
        raise ValueError(f"name keys, or give {team}, {app}, {env}: not both")
    if any(not key.strip() for key in wanted.keys):
        raise ValueError("one of the keys is an empty word")
    for name, value in filters.items():
        if not value:
            raise ValueError(f"{flag.format(name)} is empty")
        if value == NOBODY:
            nobodys = f"{flag.format(name)} {NOBODY}"
            raise ValueError(f"{nobodys} would be every key of which nobody wrote the {name}: name the keys")


def select(wanted: Wanted, known: Mapping[str, KeyFacts], flag: str = "--{}") -> tuple[str, ...]:
    """The keys that are meant, each once; those of a filter in order of their names.

    Raises:
        ValueError: none is, or the question is not a clear one.
    """
    check_wanted(wanted, flag)
    if wanted.keys:
        return tuple(dict.fromkeys(key.strip() for key in wanted.keys))
    filters = wanted.filters()
    found = sorted(
        key for key, facts in known.items() if all(getattr(facts, name) == value for name, value in filters.items())
    )
    if not found:
        words = " and ".join(f"{name} {value}" for name, value in filters.items())
        raise ValueError(f"no known key has {words}: nothing to kill")
    return tuple(found)


def cut_for(steps: Mapping[Step, StepSpec], *, revoke: bool, wider: bool) -> Cut:
    """The hardest cut that can be undone and stops this key alone.

    Args:
        steps: What the provider can do with this key.
        revoke: For good, where the provider can.
        wider: Steps that stop more than the key count too, where there is none for the key alone.
    """
    undoable = [step for step in RUNGS if step in CUTS and step in steps and steps[step].reversible]
    narrow = [step for step in undoable if steps[step].scope == "key"]
    final = "revoke" in steps and (wider or steps["revoke"].scope == "key")
    if revoke and final:
        return Cut("revoke", "for good: cannot be undone")
    if narrow:
        return Cut(narrow[-1], "can be undone")
    if wider and undoable:
        return Cut(undoable[-1], f"can be undone; stops the whole {steps[undoable[-1]].scope}")
    ways = [
        *(["--revoke (for good)"] if final and not revoke else []),
        *([f"--wider ({undoable[-1]}: stops the whole {steps[undoable[-1]].scope})"] if undoable else []),
    ]
    return Cut(None, "no step cuts this key alone and can be undone" + (f"; add {' or '.join(ways)}" if ways else ""))


def means_it(typed: str, keys: int) -> bool:
    r"""Whether the person typed how many keys, and the word.

    >>> [means_it(typed, 12) for typed in ("12 kill", " 12  KILL\n", "12", "kill", "1 kill", "yes")]
    [True, True, False, False, False, False]
    """
    return typed.lower().split() == [str(keys), "kill"]
