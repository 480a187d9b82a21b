"""One switch over to a backup, or back, as it runs: what was begun is stored before each part is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import orjson

from containment.backup import (
    ACTIVATE,
    Activation,
    Backup,
    Begun,
    Part,
    Run,
    Standing,
    parts_of,
    switch_back,
    switch_over,
)  # fmt: skip
from containment.calls import Calls
from containment.execute import ALREADY, execute
from containment.ladder import CUTS
from containment.providers.errors import ProviderError
from containment.switches.base import Switch
from schemas.records import AuditRow, Command, Outcome, Step, stable_id
from streams.notices import Conclude

if TYPE_CHECKING:
    from streams.contain import ContainDeps


@dataclass(frozen=True)
class Backups:
    """What is known of backups besides the stage's own state."""

    of: Callable[[str], Backup | None] = lambda _: None
    users: Callable[[str], Iterable[str]] = lambda _: ()
    """key_ids that name this key as their backup."""
    switches: Mapping[str, Switch] = field(default_factory=dict)
    open_incident: Callable[[str], bool] = lambda _: False


class Lent(NamedTuple):
    """What the stage lends: its ways to write down, to be stopped, and to keep the commands of one key apart."""

    audit: Callable[[AuditRow], Awaitable[None]]
    conclude: Conclude
    frozen: Callable[[], bool]
    locks: dict[str, asyncio.Lock]


class TooSlowError(Exception):
    """The switch has taken all the time that the cut waits for it."""


class SwitchRuns:
    """The switches of one stage."""

    def __init__(self, deps: ContainDeps, lent: Lent) -> None:
        self._deps = deps
        self._lent = lent

    def begun(self, key_id: str) -> Begun:
        """What was begun of a switch away from this key; an empty record where nothing was."""
        stored = self._deps.store.get(_key(key_id))
        return Begun.from_bytes(stored) if stored else Begun()

    async def save(self, key_id: str, begun: Begun) -> None:
        await self._deps.store.put(0, _key(key_id), begun.to_bytes())

    def standing(self, backup: str) -> Standing:
        """How a backup stands, as far as this stage and the open incidents know."""
        stored = self._deps.store.get(cuts_key(backup))
        cut = any(step in CUTS for step in (orjson.loads(stored) if stored else {}))
        return Standing(self._deps.backups.open_incident(backup), cut, bool(self.begun(backup).backup))

    async def works(self, command: Command) -> bool:
        """Whether the command's own key is served, as its provider shows it now."""
        deps, provider = self._deps, self._deps.providers.get(command.facts.provider)
        if provider is None:
            return False
        retry, audit = deps.responses().retry, self._lent.audit
        key = Activation(provider)
        calls = Calls(command, key, retry=retry, now_ms=deps.now_ms, sleep=deps.sleep, audit=audit)
        try:
            seen = await calls.patiently("read_back", lambda: key.in_effect("switch", calls.ref))
        except ProviderError:
            return False
        return seen.state == "yes"

    async def over(self, command: Command, backup: Backup, *, deadline_ms: int, thorough: bool) -> list[Outcome]:
        """What failed of the switch. TooSlowError when it would go on after `deadline_ms`."""
        begun = self.begun(command.key_id)
        begun = begun.model_copy(update={"backup": backup.key_id, "order": order_of(command)})
        return await switch_over(
            begun, self._parts(backup), run=self._runner(command, deadline_ms), save=self._saver(command.key_id),
            thorough=thorough,
        )  # fmt: skip

    async def back(self, command: Command) -> str:
        """Undo what was begun; what is left, in words. The backup's lock is held."""
        begun, backup = self.begun(command.key_id), self._deps.backups.of(command.key_id)
        if backup is None or backup.key_id != begun.backup:
            return f"keys.yaml does not name {begun.backup} as its backup any more: put it back by hand"
        begun = await self._hand_over(command.key_id, begun)
        left = await switch_back(
            begun, self._parts(backup), run=self._runner(command, None), save=self._saver(command.key_id)
        )
        if not left:
            await self.save(command.key_id, Begun())
        return left

    async def _hand_over(self, key_id: str, begun: Begun) -> Begun:
        """While other keys' users are on the same backup it stays active: the last one to leave switches it off."""
        others = {other: self.begun(other) for other in self._deps.backups.users(begun.backup) if other != key_id}
        heirs = [other for other, its in others.items() if its.backup == begun.backup]
        held = begun.pre.get(ACTIVATE)
        if not heirs or held is None:
            return begun
        if held.get(ALREADY) != "yes":
            heir = others[heirs[0]]
            await self.save(heirs[0], heir.model_copy(update={"pre": {ACTIVATE: held, **heir.without(ACTIVATE).pre}}))
        begun = begun.without(ACTIVATE)
        await self.save(key_id, begun)
        return begun

    def _runner(self, command: Command, deadline_ms: int | None) -> Run:
        deps, retry = self._deps, self._deps.responses().retry

        def in_time(after_s: float = 0) -> None:
            if deadline_ms is not None and deps.now_ms() + after_s * 1000 > deadline_ms:
                raise TooSlowError

        async def sleep(seconds: float) -> None:
            in_time(seconds)
            await deps.sleep(seconds)

        async def audit(row: AuditRow) -> None:
            await self._lent.audit(row)
            in_time()  # after each call: slow ones must not add up

        async def nowhere(_: dict[str, str]) -> None:
            """A restore saves nothing."""

        async def run(
            part: Part,
            step: Step,
            *,
            pre_state: Mapping[str, str] | None = None,
            save: Callable[[dict[str, str]], Awaitable[None]] = nowhere,
            undo: Mapping[Step, Mapping[str, str]] | None = None,
        ) -> Outcome:
            changes = {
                "command_id": stable_id("cmd", order_of(command), part.name, step), "key_id": part.key_id, "step": step,
                "facts": command.facts.model_copy(update={"provider": part.provider.name, "provider_ref": part.ref}),
            }  # fmt: skip
            return await execute(
                command.model_copy(update=changes), part.provider, pre_state=pre_state, retry=retry,
                now_ms=deps.now_ms, sleep=sleep, save_pre_state=save, audit=audit,
                frozen=self._lent.frozen, undo=undo,
            )  # fmt: skip

        return run

    def _parts(self, backup: Backup) -> list[Part]:
        return parts_of(backup, self._deps.providers, self._deps.backups.switches)

    def _saver(self, key_id: str) -> Callable[[Begun], Awaitable[None]]:
        return lambda begun: self.save(key_id, begun)


def order_of(command: Command) -> str:
    """One order of a command: the same step may be ordered again later, for the key was given back meanwhile."""
    return f"{command.command_id}@{command.at_ms}"


def cuts_key(key_id: str) -> bytes:
    """Of the steps that are in effect on a key or may be, each with the state to go back to."""
    return f"cuts:{key_id}".encode()


def _key(key_id: str) -> bytes:
    return f"backup:{key_id}".encode()
