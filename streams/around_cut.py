"""Around a step: the key's backup and the gates' verdict before it, both back after a restore. See docs/backup.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import orjson

from containment.backup import ACTIVATE, Backup, Begun, Part, Run, Standing, parts_of, switch_back, switch_over, why_not
from containment.execute import ALREADY, execute
from containment.ladder import CUTS, RUNGS
from containment.switches.base import Switch
from schemas.records import AuditRow, Command, Outcome, Step, StepState, stable_id
from streams.notices import Conclude, Notices

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


class _Failed(NamedTuple):
    words: str
    rule: str = "backup"


class _TooSlowError(Exception):
    """The switch has taken all the time that the cut waits for it."""


class AroundCut:
    """One stage's backups and verdicts. Kept apart from the commands themselves: those are `execute`'s."""

    def __init__(self, deps: ContainDeps, lent: Lent) -> None:
        self._deps = deps
        self._lent = lent
        self._notices = Notices(deps, lent.conclude)

    def begun_for(self, command: Command) -> bool:
        """Whether a switch was begun for this very order: it was let through then, and is not judged again."""
        return self._begun(command.key_id).order == _order(command)

    def with_outlook(self, command: Command, outcome: Outcome) -> Outcome:
        """Whoever reads what would be done, or approves it, reads about the backup too."""
        backup = self._deps.backups.of(command.key_id) if command.step in CUTS else None
        if backup is None or outcome.state not in (StepState.DRY_RUN, StepState.AWAITING_APPROVAL):
            return outcome
        words = f"{outcome.detail}; first its users go on with the backup {backup.key_id}"
        return outcome.model_copy(update={"detail": words})

    async def carry_out(
        self, command: Command, step: Callable[[], Awaitable[Outcome]], *, cuts: Mapping[Step, object], under_way: bool
    ) -> Outcome:
        """The step, and what belongs before and after it.

        Args:
            command: What is ordered.
            step: Carries it out at the provider.
            cuts: The steps confirmed on the key before.
            under_way: A run before a restart has begun with the step itself, so what comes before it is decided.
        """
        refused = await self._switch(command) if command.step in CUTS and not under_way else None
        if refused is None and command.step in RUNGS:
            begun = self._begun(command.key_id)
            use = begun.backup if begun.live else ""
            await self._notices.tell_gates(command, {*cuts, command.step}, use_instead=use)
        return refused or await self._after(command, await step(), cuts)

    async def _after(self, command: Command, outcome: Outcome, cuts: Mapping[Step, object]) -> Outcome:
        """What the end of a step means for backup and gates; the outcome, with what people should know of it."""
        begun = self._begun(command.key_id)
        if command.step == "restore":
            works = outcome.state is StepState.CONFIRMED or outcome.rule == "nothing_to_undo"
            if works and "revoke" not in cuts:
                await self._notices.tell_gates(command, ())
                await self._send_back(command, begun)
        elif outcome.state is StepState.REFUSED:  # a freeze came in between: no cut, no switch
            await self._notices.tell_gates(command, cuts)
            await self._send_back(command, begun)
        elif begun.backup and not begun.live:
            await self._send_back(command, begun)  # it could not be activated, so nobody was told
        elif outcome.state is StepState.CONFIRMED and command.step in CUTS and begun.done:
            words = f"{outcome.detail}; its users were switched to the backup {begun.backup} before"
            return outcome.model_copy(update={"detail": words})
        return outcome

    async def _switch(self, command: Command) -> Outcome | None:
        backup, begun = self._deps.backups.of(command.key_id), self._begun(command.key_id)
        if backup is None or begun.done:
            return None
        if backup.key_id == command.key_id:  # its lock is held by this very command
            return await self._failed(command, backup, _Failed(f"{backup.key_id} is named as its own backup"))
        started_ms, patience_s = self._deps.now_ms(), self._deps.responses().backup.patience_s
        try:
            async with self._alone(backup.key_id, patience_s):
                failed = await self._try(command, backup, begun, patience_s)
                if failed is not None:
                    return await self._failed(command, backup, failed)
        except _TooSlowError:
            busy = f"the backup {backup.key_id} was busy with other commands for {patience_s:g} s"
            return await self._failed(command, backup, _Failed(busy))
        await self._notices.expect(command.key_id, backup.key_id, _order(command))
        seconds = max(0, self._deps.now_ms() - started_ms) / 1000
        await self._notices.tell_people(command, StepState.CONFIRMED, _told_words(backup), seconds=seconds)
        await self._save(command.key_id, self._begun(command.key_id).model_copy(update={"done": True}))
        return None

    @contextlib.asynccontextmanager
    async def _alone(self, backup: str, patience_s: float | None) -> AsyncIterator[None]:
        """With the backup to ourselves: nobody cuts it, or sends others to it, in between."""
        lock = self._lent.locks.setdefault(backup, asyncio.Lock())
        try:
            async with asyncio.timeout(patience_s):
                await lock.acquire()
        except TimeoutError:
            raise _TooSlowError from None
        try:
            yield
        finally:
            lock.release()

    async def _try(self, command: Command, backup: Backup, begun: Begun, patience_s: float) -> _Failed | None:
        if begun.backup not in ("", backup.key_id):
            return _Failed(f"a switch to {begun.backup} was begun before and is not undone")
        why = why_not(command.key_id, backup, self._standing(backup.key_id), command.step)
        if why:
            return _Failed(why)
        begun = begun.model_copy(update={"backup": backup.key_id, "order": _order(command)})
        run = self._runner(command, deadline_ms=self._deps.now_ms() + round(patience_s * 1000))
        try:
            failed = await switch_over(
                begun, self._parts(backup), run=run, save=self._saver(command.key_id), thorough=not self._waits(command)
            )
        except _TooSlowError:
            return _Failed(f"it was not done within {patience_s:g} s")
        return _Failed("; ".join(each.detail for each in failed), failed[-1].rule or "backup") if failed else None

    def _waits(self, command: Command) -> bool:
        """Whether a person is waited for when the switch fails. Who orders by hand has decided already."""
        return command.automatic and self._deps.responses().backup.fails_in(command.facts.env) == "wait"

    async def _failed(self, command: Command, backup: Backup, failed: _Failed) -> Outcome | None:
        """Roll back and refuse the cut, or let it go on: people are told either way."""
        frozen = failed.rule == "freeze"
        if not frozen and not self._waits(command):
            words = f"{failed.words}. The key is cut all the same: those of its users that were not switched stop"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, words)
            return None
        left = await self._back(command, self._begun(command.key_id))
        state = f"not all of it could be switched back ({left})" if left else "everything is as it was before"
        words = f"{failed.words}; {state}, and the key is NOT cut"
        if not frozen or left:
            ask = f"{words}: `keyfuse contain {command.key_id}` cuts it even without the backup {backup.key_id}"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, ask)
        return Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=StepState.REFUSED, at_ms=self._deps.now_ms(), rule=failed.rule, detail=words,
        )  # fmt: skip

    async def _send_back(self, command: Command, begun: Begun) -> None:
        """Switch back; a person is told where that does not work."""
        if not begun.backup:
            return
        async with self._alone(begun.backup, None):
            left = await self._back(command, self._begun(command.key_id))
        if left:
            words = f"some users of {command.key_id} are still on its backup {begun.backup}: {left}"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, words)
        elif begun.done:
            await self._notices.expect(command.key_id, begun.backup, begun.order, withdrawn=True)

    async def _back(self, command: Command, begun: Begun) -> str:
        """Undo what was begun; what is left, in words. The backup's lock is held."""
        if not begun.backup:
            return ""
        backup = self._deps.backups.of(command.key_id)
        if backup is None or backup.key_id != begun.backup:
            return f"keys.yaml does not name {begun.backup} as its backup any more: put it back by hand"
        begun = await self._hand_over(command.key_id, begun)
        run = self._runner(command, deadline_ms=None)
        left = await switch_back(begun, self._parts(backup), run=run, save=self._saver(command.key_id))
        if not left:
            await self._save(command.key_id, Begun())
        return left

    async def _hand_over(self, key_id: str, begun: Begun) -> Begun:
        """While other keys' users are on the same backup it stays active: the last one to leave switches it off."""
        others = {other: self._begun(other) for other in self._deps.backups.users(begun.backup) if other != key_id}
        heirs = [other for other, its in others.items() if its.backup == begun.backup]
        held = begun.pre.get(ACTIVATE)
        if not heirs or held is None:
            return begun
        if held.get(ALREADY) != "yes":
            heir = others[heirs[0]]
            await self._save(heirs[0], heir.model_copy(update={"pre": {ACTIVATE: held, **heir.without(ACTIVATE).pre}}))
        begun = begun.without(ACTIVATE)
        await self._save(key_id, begun)
        return begun

    def _runner(self, command: Command, *, deadline_ms: int | None) -> Run:
        deps, retry = self._deps, self._deps.responses().retry

        async def sleep(seconds: float) -> None:
            if deadline_ms is not None and deps.now_ms() + seconds * 1000 > deadline_ms:
                raise _TooSlowError
            await deps.sleep(seconds)

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
                "command_id": stable_id("cmd", _order(command), part.name, step), "key_id": part.key_id, "step": step,
                "facts": command.facts.model_copy(update={"provider": part.provider.name, "provider_ref": part.ref}),
            }  # fmt: skip
            return await execute(
                command.model_copy(update=changes), part.provider, pre_state=pre_state, retry=retry,
                now_ms=deps.now_ms, sleep=sleep, save_pre_state=save, audit=self._lent.audit,
                frozen=self._lent.frozen, undo=undo,
            )  # fmt: skip

        return run

    def _parts(self, backup: Backup) -> Sequence[Part]:
        return parts_of(backup, self._deps.providers, self._deps.backups.switches)

    def _standing(self, backup: str) -> Standing:
        stored = self._deps.store.get(f"cuts:{backup}".encode())
        cut = any(step in CUTS for step in (orjson.loads(stored) if stored else {}))
        return Standing(self._deps.backups.open_incident(backup), cut, bool(self._begun(backup).backup))

    def _begun(self, key_id: str) -> Begun:
        stored = self._deps.store.get(_key(key_id))
        return Begun.from_bytes(stored) if stored else Begun()

    def _saver(self, key_id: str) -> Callable[[Begun], Awaitable[None]]:
        return lambda begun: self._save(key_id, begun)

    async def _save(self, key_id: str, begun: Begun) -> None:
        await self._deps.store.put(0, _key(key_id), begun.to_bytes())


def _key(key_id: str) -> bytes:
    return f"backup:{key_id}".encode()


def _order(command: Command) -> str:
    return f"{command.command_id}@{command.at_ms}"


def _told_words(backup: Backup) -> str:
    places = [f"{name} ({turn.secret})" if turn.secret else name for name, turn in backup.places]
    return f"its users go on with the backup {backup.key_id}, told at {', '.join([*places, 'the gates'])}"
