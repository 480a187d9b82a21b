"""Carry out one command at its provider and do not believe it until it is seen.

The order matters and makes a crash harmless: 1. save how the key stands, 2. look whether the step holds already,
3. change, 4. read back, 5. probe. A second run of the same command starts by looking, so its effect comes once.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from containment.calls import Calls, pause_s
from containment.ladder import CUTS
from containment.probed import BEFORE
from containment.providers.base import Effect, Provider
from containment.providers.errors import ProviderError, Reason, Refused
from schemas.config.responses import RetryConfig
from schemas.records import AuditRow, Command, Outcome, Step, StepState

ALREADY: Final = "already_in_effect"  # in the saved pre-state: the step held before Keyfuse came
PreState = Mapping[str, str]


async def execute(  # noqa: PLR0913 - what a command touches in the world, each by its name
    command: Command,
    provider: Provider,
    *,
    pre_state: PreState | None,
    retry: RetryConfig,
    now_ms: Callable[[], int],
    sleep: Callable[[float], Awaitable[None]],
    save_pre_state: Callable[[dict[str, str]], Awaitable[None]],
    audit: Callable[[AuditRow], Awaitable[None]],
    frozen: Callable[[], bool],
    undo: Mapping[Step, PreState] | None = None,
    vouched: bool = True,
) -> Outcome:
    """Run the command to its end: confirmed, irrevocable (a person must act), or refused by a freeze.

    Args:
        command: What to do; its limits and approvals were judged before.
        provider: Who does it.
        pre_state: What an earlier run of this command saved; None on the first run.
        retry: Bounds of trying and of waiting.
        now_ms: Wall clock.
        sleep: Pause in seconds.
        save_pre_state: Called once, before anything is touched. Its errors are raised: run the command again.
        audit: Called after each call to the provider. Its errors are raised as well.
        frozen: The kill switch, asked before the first call and before every change of an automatic command.
        undo: For a restore: the steps that may be in effect, oldest first, each with the pre-state saved for it.
        vouched: A person ordered it or registered the key, so there must be such a key. Else a provider that does not
            know it ends the command refused: events were made up, and nobody has to go and look for it.
    """
    calls = Calls(command, provider, retry=retry, now_ms=now_ms, sleep=sleep, audit=audit)
    run = _Run(calls, frozen)
    try:
        if command.step == "restore":
            return await run.restore(undo or {})
        return await run.cut(pre_state, save_pre_state)
    except ProviderError as error:
        if error.reason is Reason.UNKNOWN_KEY and not vouched and run.untouched:
            return run.unknown(str(error))
        return run.irrevocable(str(error))


class _Run:
    """One command under way."""

    def __init__(self, calls: Calls, frozen: Callable[[], bool]) -> None:
        self.calls = calls
        self.command = calls.command
        self.provider = calls.provider
        self._frozen = frozen
        self._started_ms = calls.now_ms()
        self.untouched = False  # no run of this command, this one or an earlier, can have changed anything
        # Seeded by the command: replicas that retry the same outage spread out, and a test can be repeated.
        self._rng = random.Random(calls.command.command_id)

    async def cut(self, pre_state: PreState | None, save: Callable[[dict[str, str]], Awaitable[None]]) -> Outcome:
        step = self.command.step
        if self._stopped():
            if pre_state is not None:  # an earlier run may have changed it already
                return await self._stopped_halfway(step, pre_state)
            return self._refused_by_freeze("before anything was touched")
        if step not in self.provider.steps_of(self.calls.ref):
            raise Refused(Reason.NOT_SUPPORTED, f"{self.provider.name} cannot {step} this key")
        before, self.untouched = pre_state, pre_state is None
        if before is None:
            before = await self.calls.patiently("snapshot", lambda: self.provider.snapshot(self.calls.ref))
        held = await self._held(step, before)
        if pre_state is None:
            before = {**before, ALREADY: held.state}
            await save(before)
            self.untouched = False
        change = None if held.state == "yes" else lambda: self.provider.apply(step, self.calls.ref)
        return await self._make_true(step, "yes", change, before, probe=step in CUTS)

    async def restore(self, undo: Mapping[Step, PreState]) -> Outcome:
        """Undo all that is ours, the newest first. One that fails for good does not keep the others back."""
        steps = [(step, pre) for step, pre in undo.items() if step != "notify"]
        if not steps:
            return self._outcome(
                StepState.REFUSED, "no step of Keyfuse's is known for this key", rule="nothing_to_undo"
            )
        ours = [(step, pre) for step, pre in steps if pre.get(ALREADY) != "yes"]
        # While an earlier cut still holds, the key is refused whatever is undone; so only the last undo is probed.
        served = all(pre.get(ALREADY) == "no" for _, pre in steps) and any(cut in CUTS for cut, _ in ours)
        ends: list[tuple[Step, Outcome]] = []
        for step, pre in reversed(ours):
            clean = all(end.state is StepState.CONFIRMED for _, end in ends)
            ends.append((step, await self._undone(step, pre, probe=served and clean and step == ours[0][0])))
        return self._together(ends)

    async def _undone(self, step: Step, pre: PreState, *, probe: bool) -> Outcome:
        try:
            held = await self._held(step, pre)
            change = None if held.state == "no" else lambda: self.provider.undo(step, self.calls.ref, pre)
            return await self._make_true(step, "no", change, pre, probe=probe)
        except ProviderError as error:
            return self.irrevocable(str(error))

    def _together(self, ends: list[tuple[Step, Outcome]]) -> Outcome:
        """One end for all undos; where several were tried, what became of each."""
        failed = [(step, end) for step, end in ends if end.state is not StepState.CONFIRMED]
        if not ends:
            return self._outcome(StepState.CONFIRMED, "nothing to undo: the key was cut before Keyfuse came")
        if not failed:
            return ends[-1][1]
        if len(ends) == 1:
            return failed[0][1]
        undone = ", ".join(step for step, end in ends if (step, end) not in failed) or "nothing"
        words = "; ".join(f"{step}: {end.detail}" for step, end in failed)
        return self._outcome(StepState.IRREVOCABLE, f"undone: {undone}; not undone: {words}")

    async def _held(self, step: Step, pre: PreState) -> Effect:
        return await self.calls.patiently(
            "read_back", lambda: self.provider.in_effect(step, self.calls.ref, pre_state=pre)
        )

    async def _make_true(
        self, step: Step, want: str, change: Callable[[], Awaitable[str]] | None, pre: PreState, *, probe: bool
    ) -> Outcome:
        """Change, look, and change again while the provider shows that nothing happened."""
        retry, waited_s, failure = self.calls.retry, 0.0, None
        for attempt in range(1, retry.attempts + 1):
            if change is not None:
                if self._stopped():
                    return await self._stopped_halfway(step, pre)
                failure = await self._try(change)
            patience_s = 0 if failure else retry.verify_s / 3
            seen, spent_s = await self._watch(step, want, pre, probe=probe, patience_s=patience_s)
            waited_s += spent_s
            if seen.state == want:
                return self._confirmed(seen.words)
            if isinstance(failure, Refused):
                raise failure
            if change is None or waited_s >= retry.verify_s:
                return self.irrevocable(f"after {waited_s:.0f} s the provider still shows: {seen.words}")
            if attempt < retry.attempts:
                await self.calls.sleep(pause_s(attempt, retry, self._rng, failure))
        return self.irrevocable(str(failure) if failure else "the provider answers that it is done, but does not do it")

    async def _try(self, change: Callable[[], Awaitable[str]]) -> ProviderError | None:
        try:
            await self.calls.once("apply" if self.command.step != "restore" else "undo", change)
        except ProviderError as error:
            return error  # it may have happened all the same: looking comes before trying again
        return None

    async def _watch(
        self, step: Step, want: str, pre: PreState, *, probe: bool, patience_s: float
    ) -> tuple[Effect, float]:
        """Look until it is so or patience ends; returns what was seen last and the seconds waited.

        `patience_s` is for the provider's own books; once they show the change, its front doors get `verify_s`.
        """
        waited_s, looks, verify_s = 0.0, 0, self.calls.retry.verify_s
        while True:
            looks += 1
            books, seen = await self._look(step, want, pre, probe=probe)
            limit_s = verify_s if books == want else patience_s
            if seen.state == want or waited_s >= limit_s:
                return seen, waited_s
            pause = min(pause_s(looks, self.calls.retry, self._rng, None), verify_s / 10)
            await self.calls.sleep(pause)
            waited_s += pause

    async def _look(self, step: Step, want: str, pre: PreState, *, probe: bool) -> tuple[str, Effect]:
        """What the provider's books say, and what is so: the probe where there is one."""
        try:
            books = await self.calls.once(
                "read_back", lambda: self.provider.in_effect(step, self.calls.ref, pre_state=pre)
            )
            if books.state != want:
                as_before = want == "no" and await self._as_before(pre)
                return (want, Effect("no", "the key stands as it did before Keyfuse came")) if as_before else (
                    books.state, books
                )  # fmt: skip
            probed = (
                await self.calls.once("probe", lambda: self.provider.probe(step, self.calls.ref)) if probe else books
            )
        except ProviderError as error:
            return "unknown", Effect("unknown", str(error))
        if probed is None:
            return books.state, Effect(books.state, f"{books.words} (read back; the provider offers no probe)")
        return books.state, probed

    async def _as_before(self, pre: PreState) -> bool:
        """For an undo where nobody could say whether the step held already: it may hold again, and rightly."""
        if pre.get(ALREADY) != "unknown":
            return False
        now = await self.calls.once("snapshot", lambda: self.provider.snapshot(self.calls.ref))
        return _books({**now, ALREADY: "unknown"}) == _books(pre)

    def _stopped(self) -> bool:
        # Undoing stays possible while frozen: it only gives back.
        return self.command.automatic and self.command.step != "restore" and self._frozen()

    async def _stopped_halfway(self, step: Step, pre: PreState) -> Outcome:
        """Frozen between tries: nothing more is changed, but what is so must be known, and a change may come late."""
        seen, _ = await self._watch(step, "yes", pre, probe=False, patience_s=self.calls.retry.verify_s / 3)
        if seen.state == "yes":
            return await self._make_true(step, "yes", None, pre, probe=step in CUTS)
        if seen.state == "unknown":
            return self.irrevocable(f"frozen halfway, and the provider cannot be read: {seen.words}")
        return self._refused_by_freeze(f"the provider shows: {seen.words}")

    def _refused_by_freeze(self, words: str) -> Outcome:
        return self._outcome(StepState.REFUSED, f"frozen: nothing runs by itself ({words})", rule="freeze")

    def _confirmed(self, words: str) -> Outcome:
        taken_s = max(0, self.calls.now_ms() - self._started_ms) / 1000
        return self._outcome(StepState.CONFIRMED, words, seconds=taken_s)

    def unknown(self, why: str) -> Outcome:
        words = f"{why}. The key is in no keys.yaml either: most likely its events were made up"
        return self._outcome(StepState.REFUSED, words, rule="unknown_key")

    def irrevocable(self, why: str) -> Outcome:
        """Could not be made true: say what a person must do now."""
        what, verb = f"key {self.calls.ref} at {self.provider.name}", self.command.step
        words = f"{verb} of {what} is not confirmed: {why}. Open the provider's console now and {verb} the key by hand"
        until = {"restore": "its users are refused", "switch": "its users do not go on with the backup"}
        then = until.get(verb, "treat it as still usable by the thief")
        return self._outcome(StepState.IRREVOCABLE, f"{words}; until then {then}.")

    def _outcome(self, state: StepState, detail: str, *, rule: str = "", seconds: float | None = None) -> Outcome:
        return Outcome(
            command_id=self.command.command_id,
            incident_id=self.command.incident_id,
            key_id=self.command.key_id,
            step=self.command.step,
            state=state,
            at_ms=self.calls.now_ms(),
            rule=rule,
            detail=detail,
            attempts=self.calls.changes,
            seconds_to_effective=seconds,
        )


def _books(state: PreState) -> dict[str, str]:
    """A saved state without what only a call with the key told: that differs while caches last."""
    return {name: value for name, value in state.items() if name != BEFORE}
