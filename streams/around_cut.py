"""Around a step: the key's backup and the gates' verdict before it, both back after a restore. See docs/backup.md."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from containment.backup import Backup, Begun, why_not
from containment.execute import ALREADY
from containment.ladder import CUTS, RUNGS
from schemas.records import Command, Outcome, Step, StepState
from streams.gates_heard import Reached
from streams.notices import Notices
from streams.switch_runs import Lent, SwitchRuns, TooSlowError, order_of

if TYPE_CHECKING:
    from streams.contain import ContainDeps


_AT_GATES: Final[Mapping[Step, str]] = {
    "throttle": "slowed down", "degrade": "degraded", "restore": "served again",
}  # fmt: skip


class _Failed(NamedTuple):
    words: str
    rule: str = "backup"


class Held(NamedTuple):
    """What holds on a key before a step."""

    cuts: Mapping[Step, object]  # steps that were seen in effect; with False those that failed, and may be
    before: bool = False  # of a restore: a cut held before Keyfuse came, and may hold when all of its own is undone


class AroundCut:
    """One stage's backups and verdicts. Kept apart from the commands themselves: those are `execute`'s."""

    def __init__(self, deps: ContainDeps, lent: Lent) -> None:
        self._deps = deps
        self._locks = lent.locks
        self._runs = SwitchRuns(deps, lent)
        self._notices = Notices(deps, lent.conclude)

    def begun_for(self, command: Command) -> bool:
        """Whether a switch was begun for this very order: it was let through then, and is not judged again."""
        return self._runs.begun(command.key_id).order == order_of(command)

    def told_for(self, command: Command) -> bool:
        """Whether gates were told for this very order: that has to be taken back if it ends in nothing."""
        return self._deps.store.get(_told_key(command)) == order_of(command).encode()

    def with_outlook(self, command: Command, outcome: Outcome) -> Outcome:
        """Whoever reads what would be done, or approves it, reads about the backup too."""
        backup = self._deps.backups.of(command.key_id) if command.step in CUTS and not command.alone else None
        if backup is None or outcome.state not in (StepState.DRY_RUN, StepState.AWAITING_APPROVAL):
            return outcome
        words = f"{outcome.detail}; first its users go on with the backup {backup.key_id}"
        return outcome.model_copy(update={"detail": words})

    async def carry_out(
        self, command: Command, step: Callable[[], Awaitable[Outcome]], *, held: Held, under_way: bool
    ) -> Outcome:
        """The step, and what belongs before and after it.

        Args:
            command: What is ordered.
            step: Carries it out at the provider.
            held: What holds on the key.
            under_way: What comes before the step is decided: a run before a restart has begun with it, or it is barred.
        """
        was_done, cuts, written = self._runs.begun(command.key_id).done, held.cuts, dict[int, int]()
        switches = command.step in CUTS and not under_way and not command.alone
        refused = await self._switch(command, cuts) if switches else None
        if refused is None and command.step in RUNGS:
            begun = self._runs.begun(command.key_id)
            use = begun.backup if begun.live else ""
            await self._deps.store.put(0, _told_key(command), order_of(command).encode())
            written = await self._notices.tell_gates(command, {*cuts, command.step}, use_instead=use)
            if begun.done and not was_done:
                await self._deps.sleep(self._deps.responses().backup.head_start_s)
        holding = asyncio.create_task(self._deps.gates.hold(written)) if written else None
        try:
            outcome = refused or await self._after(command, await step(), held)
            return outcome if holding is None else self._at_gates(outcome, await holding)
        finally:
            if holding is not None:
                holding.cancel()

    def _at_gates(self, outcome: Outcome, reached: Reached | None) -> Outcome:
        """People read where the verdict is in force, and after how long."""
        if reached is None or outcome.state not in (StepState.CONFIRMED, StepState.IRREVOCABLE):
            return outcome
        self._deps.metrics.observe("keyfuse_verdict_seconds", reached.seconds)
        words = f"{outcome.detail}; {reached.words(_AT_GATES.get(outcome.step, 'refused'))}"
        return outcome.model_copy(update={"detail": words})

    async def _after(self, command: Command, outcome: Outcome, held: Held) -> Outcome:
        """What the end of a step means for backup and gates; the outcome, with what people should know of it."""
        begun, cuts = self._runs.begun(command.key_id), held.cuts
        if command.step == "restore":
            if await self._works_again(command, outcome, held):
                written = await self._notices.tell_gates(command, ())
                await self._send_back(command, begun)
                return self._at_gates(outcome, await self._deps.gates.hold(written))
            elif outcome.state is StepState.CONFIRMED and begun.live:
                words = f"{outcome.detail}; its users stay on the backup {begun.backup}"
                return outcome.model_copy(update={"detail": words})
        elif outcome.state is StepState.REFUSED:  # a freeze came in between: no cut, no switch
            await self._notices.tell_gates(command, cuts, use_instead=begun.backup if begun.live else "")
            if not _is_cut(cuts):
                await self._send_back(command, begun)
        elif begun.backup and not begun.live:
            await self._send_back(command, begun)  # it could not be activated, so nobody was told
        elif outcome.state is StepState.CONFIRMED and command.step in CUTS and begun.done:
            words = f"{outcome.detail}; its users were switched to the backup {begun.backup} before"
            return outcome.model_copy(update={"detail": words})
        return outcome

    async def _works_again(self, command: Command, outcome: Outcome, held: Held) -> bool:
        """Whether users and gates may go back to the key after a restore."""
        if held.cuts.get("revoke"):
            return False
        # As far as is known there is nothing to undo, but a cut that failed may hold all the same.
        if outcome.rule == "nothing_to_undo" or (outcome.state is StepState.CONFIRMED and held.before):
            return await self._runs.works(command)
        return outcome.state is StepState.CONFIRMED

    async def _switch(self, command: Command, cuts: Mapping[Step, object]) -> Outcome | None:
        backup, begun = self._deps.backups.of(command.key_id), self._runs.begun(command.key_id)
        if backup is None or begun.done:
            return None
        if backup.key_id == command.key_id:  # its lock is held by this very command
            return await self._failed(command, backup, _Failed(f"{backup.key_id} is named as its own backup"), cuts)
        started_ms, patience_s = self._deps.now_ms(), self._deps.responses().backup.patience_s
        try:
            async with self._alone(backup.key_id, patience_s):
                failed = await self._try(command, backup, begun, thorough=_is_cut(cuts) or not self._waits(command))
                if failed is None:
                    await self._finish(command, backup, started_ms)
        except TooSlowError:
            failed = _Failed(f"the backup {backup.key_id} was busy with other commands for {patience_s:g} s")
        return await self._failed(command, backup, failed, cuts) if failed else None

    async def _finish(self, command: Command, backup: Backup, started_ms: int) -> None:
        """Detectors and people know before it counts as done: a restart in between tells them again."""
        await self._notices.expect(command.key_id, backup.key_id, order_of(command))
        seconds = max(0, self._deps.now_ms() - started_ms) / 1000
        await self._notices.tell_people(command, StepState.CONFIRMED, _told_words(backup), seconds=seconds)
        await self._runs.save(command.key_id, self._runs.begun(command.key_id).model_copy(update={"done": True}))

    @contextlib.asynccontextmanager
    async def _alone(self, backup: str, patience_s: float | None) -> AsyncIterator[None]:
        """With the backup to ourselves: nobody cuts it, or sends others to it, in between."""
        lock = self._locks.setdefault(backup, asyncio.Lock())
        try:
            async with asyncio.timeout(patience_s):
                await lock.acquire()
        except TimeoutError:
            raise TooSlowError from None
        try:
            yield
        finally:
            lock.release()

    async def _try(self, command: Command, backup: Backup, begun: Begun, *, thorough: bool) -> _Failed | None:
        if begun.backup not in ("", backup.key_id):
            return _Failed(f"a switch to {begun.backup} was begun before and is not undone")
        why = why_not(command.key_id, backup, self._runs.standing(backup.key_id), command.step)
        if why:
            return _Failed(why)
        patience_s = self._deps.responses().backup.patience_s
        deadline_ms = self._deps.now_ms() + round(patience_s * 1000)
        try:
            failed = await self._runs.over(command, backup, deadline_ms=deadline_ms, thorough=thorough)
        except TooSlowError:
            return _Failed(f"it was not done within {patience_s:g} s")
        return _Failed("; ".join(each.detail for each in failed), failed[-1].rule or "backup") if failed else None

    def _waits(self, command: Command) -> bool:
        """Whether a person is waited for when the switch fails. Who orders by hand has decided already."""
        return command.automatic and self._deps.responses().backup.fails_in(command.facts.env) == "wait"

    async def _failed(
        self, command: Command, backup: Backup, failed: _Failed, cuts: Mapping[Step, object]
    ) -> Outcome | None:
        """Roll back and refuse the cut, or let it go on: people are told either way.

        Nobody is sent back to a key that is cut already: then the step goes on, and a freeze stops it by itself.
        """
        frozen = failed.rule == "freeze"
        if frozen and _is_cut(cuts):
            return None
        if _is_cut(cuts) or not (frozen or self._waits(command)):
            words = f"{failed.words}. The key is cut all the same: those of its users that were not switched stop"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, words)
            begun = self._runs.begun(command.key_id)
            if begun.live:  # some are on it, and gates send others: without a word it would look stolen itself
                await self._notices.expect(command.key_id, begun.backup, begun.order)
            return None
        left = await self._back(command)
        state = f"not all of it could be switched back ({left})" if left else "everything is as it was before"
        words = f"{failed.words}; {state}, and the key is NOT cut"
        if not frozen or left:
            ask = f"{words}: `keyfuse contain {command.key_id}` cuts it even without the backup {backup.key_id}"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, ask)
        return Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=StepState.REFUSED, at_ms=self._deps.now_ms(), rule=failed.rule, detail=words,
        )  # fmt: skip

    async def _back(self, command: Command) -> str:
        """Undo what was begun; what is left, in words."""
        begun = self._runs.begun(command.key_id)
        if not begun.backup:
            return ""
        async with self._alone(begun.backup, None):
            return await self._runs.back(command)

    async def _send_back(self, command: Command, begun: Begun) -> None:
        """Switch back; a person is told where that does not work."""
        if not begun.backup:
            return
        left = await self._back(command)
        if left:
            words = f"some users of {command.key_id} are still on its backup {begun.backup}: {left}"
            await self._notices.tell_people(command, StepState.IRREVOCABLE, words)
        elif begun.live:
            await self._notices.expect(command.key_id, begun.backup, begun.order, withdrawn=True)


def _is_cut(cuts: Mapping[Step, object]) -> bool:
    """Whether one of the steps makes the key refused, or may."""
    return any(step in CUTS for step in cuts)


def cut_before(undo: Mapping[Step, Mapping[str, str]]) -> bool:
    """Whether one of the steps that a restore undoes held already when Keyfuse came, and makes the key refused."""
    return any(step in CUTS and pre.get(ALREADY) == "yes" for step, pre in undo.items())


def _told_key(command: Command) -> bytes:
    """The order for which gates were told last; written before they are."""
    return f"gates:{command.key_id}".encode()


def _told_words(backup: Backup) -> str:
    places = [f"{name} ({turn.secret})" if turn.secret else name for name, turn in backup.places]
    return f"its users go on with the backup {backup.key_id}, told at {', '.join([*places, 'the gates'])}"
