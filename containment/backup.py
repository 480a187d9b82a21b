"""The backup before the cut: activate it, read that back, tell its users, and only then cut; or all of it back again.

Each part of a switch runs through `execute` like any step: how it stood is saved before it is touched, it is read back
and audited, and a second run begins by looking. So a crash between any two parts leaves a record of what was begun.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from pydantic import Field

from containment.ladder import CUTS
from containment.providers.base import Effect, Provider, StepSpec
from containment.providers.errors import Reason, Refused
from containment.switches.base import Switch, Turn
from schemas.records import KeyFacts, Outcome, Record, Step, StepState

SWITCH: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {"switch": StepSpec(True, "key", 1, "The key's users go on with its backup.")}
)
ACTIVATE: Final = "activate"  # the first part


class Backup(NamedTuple):
    """What `keys.yaml` says about a key's backup."""

    key_id: str
    facts: KeyFacts | None  # None: it is not registered
    places: tuple[tuple[str, Turn], ...]  # each with the name of its switch
    stopped_by: frozenset[Step] = frozenset()  # steps on the key that stop the backup as well


class Begun(Record):
    """What was begun of a switch and not undone since."""

    backup: str = ""
    order: str = ""  # the order of the cut that it was begun for
    live: bool = False  # the backup is active: users may be told, and gates may answer with it
    done: bool = False  # every part is confirmed, and people know
    pre: dict[str, dict[str, str]] = Field(default_factory=dict)  # part -> how it stood before, in the order begun

    def without(self, name: str) -> Begun:
        """Less one part, which is as it was before; a switch that lacks a part is not done."""
        pre = {other: held for other, held in self.pre.items() if other != name}
        return self.model_copy(update={"pre": pre, "done": False, "live": self.live and name != ACTIVATE})


class Standing(NamedTuple):
    """What is known of a backup at the moment it is needed."""

    open_incident: bool
    cut: bool
    switched_away: bool  # its own users were sent on to another key


def why_not(key_id: str, backup: Backup, standing: Standing, step: Step) -> str:
    """Why nobody may be sent to this backup; empty when they may.

    >>> well = Standing(open_incident=False, cut=False, switched_away=False)
    >>> spare = Backup("k2", KeyFacts(provider="openai"), (), frozenset({"block"}))
    >>> [why_not("k1", spare, well, step) for step in ("disable", "block")]
    ['', 'block of k1 stops its backup k2 as well']
    """
    its = f"the backup {backup.key_id}"
    reasons = (
        (backup.key_id == key_id, f"{key_id} is named as its own backup"),
        (backup.facts is None, f"{its} is not in keys.yaml"),
        (standing.cut, f"{its} is cut itself"),
        (standing.open_incident, f"{its} has an open incident itself"),
        (standing.switched_away, f"the users of {its} were sent away from it"),
        (step in backup.stopped_by, f"{step} of {key_id} stops its backup {backup.key_id} as well"),
    )
    return next((words for so, words in reasons if so), "")


class Part(NamedTuple):
    """One part of a switch."""

    name: str  # the same for the same place, also after a restart
    key_id: str  # whose audit it belongs to
    ref: str  # what is changed, in words
    provider: Provider  # with one step: switch


def parts_of(backup: Backup, providers: Mapping[str, Provider], switches: Mapping[str, Switch]) -> list[Part]:
    """Activate first, then tell users place by place. A place whose switch is not configured fails when its turn comes.

    A backup of a provider that is not configured cannot be looked at: it is taken to be active.
    """
    parts = []
    provider = providers.get(backup.facts.provider) if backup.facts else None
    if backup.facts and provider:
        ref = backup.facts.provider_ref or backup.key_id
        parts.append(Part(ACTIVATE, backup.key_id, ref, Activation(provider)))
    for name, turn in backup.places:
        parts.append(Part(f"{name}:{turn.secret}", turn.key_id, turn.words, Place(name, switches.get(name), turn)))
    return parts


class Run(Protocol):
    """`execute` for one part."""

    def __call__(
        self,
        part: Part,
        step: Step,
        *,
        pre_state: Mapping[str, str] | None = ...,
        save: Callable[[dict[str, str]], Awaitable[None]] = ...,
        undo: Mapping[Step, Mapping[str, str]] | None = ...,
    ) -> Awaitable[Outcome]: ...


Save = Callable[[Begun], Awaitable[None]]


async def switch_over(begun: Begun, parts: Sequence[Part], *, run: Run, save: Save, thorough: bool) -> list[Outcome]:
    """Every part in order; the outcomes of those that are not confirmed.

    Ends at the first of them, unless `thorough`: then the other places are told all the same. Nobody is told of a
    backup that is not active.
    """
    failed: list[Outcome] = []
    for part in parts:
        if part.name != ACTIVATE and not begun.live:
            begun = begun.model_copy(update={"live": True})

        async def keep(pre: dict[str, str], name: str = part.name) -> None:
            nonlocal begun
            begun = begun.model_copy(update={"pre": {**begun.pre, name: pre}})
            await save(begun)

        outcome = await run(part, "switch", pre_state=begun.pre.get(part.name), save=keep)
        if outcome.state is StepState.CONFIRMED:
            continue
        failed.append(outcome)
        if not thorough or part.name == ACTIVATE or outcome.state is StepState.REFUSED:
            return failed
    await save(begun.model_copy(update={"live": True}))
    return failed


async def switch_back(begun: Begun, parts: Sequence[Part], *, run: Run, save: Save) -> str:
    """Undo what was begun, last part first; what could not be undone stays in the record, and the words say it.

    The backup is switched off again only when none of its users is left.
    """
    by_name = {part.name: part for part in parts}
    failures: list[str] = []
    for name, pre in reversed(list(begun.pre.items())):
        if name == ACTIVATE and failures:
            continue
        part = by_name.get(name)
        if part is None:
            failures.append(f"{name} is not in the configuration any more, put it back by hand")
            continue
        outcome = await run(part, "restore", undo={"switch": pre})
        if outcome.state is StepState.CONFIRMED:
            begun = begun.without(name)
            await save(begun)
        else:
            failures.append(outcome.detail)
    return "; ".join(failures)


class _OneStep:
    """What the two kinds of parts share."""

    steps = SWITCH

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return SWITCH

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def close(self) -> None:
        """Whoever made what is behind this closes it."""


class Activation(_OneStep):
    """A key at its provider, seen from the other side: the step is that it works, its undoing that it is stopped.

    A backup is kept inactive until it is needed, or it is active all along.
    """

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self._provider = provider

    async def snapshot(self, ref: str) -> dict[str, str]:
        await self._provider.snapshot(ref)  # Refused when there is no such key
        held = [step for step in self._cuts(ref) if (await self._provider.in_effect(step, ref)).state == "yes"]
        return {"held": " ".join(held)}

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        """Whether the key works: none of the steps that would stop it holds, and its provider serves it."""
        for cut in self._cuts(ref, wide=True):
            held = await self._provider.in_effect(cut, ref)
            if held.state != "no":
                return Effect("no" if held.state == "yes" else "unknown", held.words)
        probed = await self._provider.probe("disable", ref)
        if probed is not None and probed.state != "no":
            return Effect("no" if probed.state == "yes" else "unknown", probed.words)
        return Effect("yes", "the key is active")

    async def apply(self, step: Step, ref: str) -> str:
        """Enabled as the provider undoes its own step; what that needs a saved state for, it refuses."""
        held = [cut for cut in self._cuts(ref) if (await self._provider.in_effect(cut, ref)).state == "yes"]
        if not held:
            words = (
                f"activate {ref}: it is refused, and what stops it is no step on this key alone; only people lift that"
            )
            raise Refused(Reason.REJECTED, words)
        return "; ".join([await self._provider.undo(cut, ref, {}) for cut in held])

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        held = [cut for cut in self._cuts(ref) if cut in pre_state.get("held", "").split()]
        return "; ".join([await self._provider.apply(cut, ref) for cut in held])

    def _cuts(self, ref: str, *, wide: bool = False) -> list[Step]:
        """What would stop the key and can be undone: this key alone, or `wide` more than it; that only people lift."""
        specs = self._provider.steps_of(ref)
        undoable = [step for step in specs if step in CUTS and specs[step].reversible]
        return [step for step in undoable if wide or specs[step].scope == "key"]


class Place(_OneStep):
    """One place where users are told."""

    def __init__(self, name: str, switch: Switch | None, turn: Turn) -> None:
        self.name = name
        self._switch = switch
        self._turn = turn

    async def snapshot(self, ref: str) -> dict[str, str]:
        return await self._made().snapshot(self._turn)

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        return await self._made().in_effect(self._turn)

    async def apply(self, step: Step, ref: str) -> str:
        return await self._made().apply(self._turn)

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        return await self._made().undo(self._turn, pre_state)

    def _made(self) -> Switch:
        if self._switch is None:
            raise Refused(Reason.NOT_SUPPORTED, f"no switch named {self.name} in keyfuse.yaml when Keyfuse started")
        return self._switch
