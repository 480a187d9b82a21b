"""A provider that is verified at the front door too: a harmless call with the key itself, where its secret is at hand.

The secret is asked for at each look and not kept: it may have been replaced. It is only ever in a request's header.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import SecretStr

from containment.providers.base import Effect, Provider, StepSpec
from containment.providers.harmless import HarmlessCall
from schemas.records import Step

BEFORE: Final = "keyfuse_probe"  # in the saved pre-state: was the key refused before anything was done to it
PATIENCE_S: Final = 1.0
"""For the look before the cut, after the snapshot is there."""
_PROVES_NOTHING: Final = "; it was refused before anything was done, so this proves nothing"
SecretOf = Callable[[str], SecretStr | None]
"""A key's secret by its `provider_ref`; None where nobody gave one. Raises SecretGone for one that cannot be read."""


class SecretGone(Exception):
    """A secret that was named cannot be read; says where it should be, never what it is."""


class ProbedProvider:
    """Another provider in all but the probe.

    Args:
        provider: Who acts.
        call: Who calls with the key.
        secret_of: The keys' secrets.
    """

    def __init__(self, provider: Provider, call: HarmlessCall, secret_of: SecretOf) -> None:
        self.name = provider.name
        self.steps = provider.steps
        self._provider = provider
        self._call = call
        self._secret_of = secret_of
        self._before: dict[str, str] = {}

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return self._provider.steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        """With whether the key is refused now: a secret that never works can prove nothing later.

        Both at once, and a call that hangs does not hold up the cut.
        """
        look = asyncio.create_task(self._look(ref))
        try:
            state = await self._provider.snapshot(ref)
            await asyncio.wait([look], timeout=PATIENCE_S)
        finally:
            look.cancel()  # no matter where it is done
        # Not even a defect of ours there may stop the cut.
        fine = look.done() and not look.cancelled() and look.exception() is None
        seen = look.result() if fine else Effect("unknown", "no answer in time")
        if seen is None:
            return state
        self._before[ref] = seen.state
        return {**state, BEFORE: seen.state}

    async def apply(self, step: Step, ref: str) -> str:
        return await self._provider.apply(step, ref)

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        # As the caller saved it, perhaps in another process; of a backup nothing is, for it must be served in any case.
        self._before[ref] = (pre_state or {}).get(BEFORE, "")
        return await self._provider.in_effect(step, ref, pre_state=pre_state)

    async def probe(self, step: Step, ref: str) -> Effect | None:
        if not self._call.notices(step, ref):
            return await self._provider.probe(step, ref)
        seen = await self._look(ref)
        if seen is None:
            return await self._provider.probe(step, ref)
        if seen.state == "yes" and self._before.get(ref) == "yes":
            held = await self._provider.in_effect(step, ref)
            return Effect(held.state, f"{held.words}; {seen.words}{_PROVES_NOTHING}")
        return seen

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        if BEFORE in pre_state:
            self._before[ref] = pre_state[BEFORE]
        return await self._provider.undo(step, ref, {k: v for k, v in pre_state.items() if k != BEFORE})

    async def close(self) -> None:
        await self._call.close()
        await self._provider.close()

    async def _look(self, ref: str) -> Effect | None:
        try:
            secret = self._secret_of(ref)
        except SecretGone as gone:
            return Effect("unknown", f"no call with the key: {gone}")
        return await self._call.look(ref, secret) if secret else None
