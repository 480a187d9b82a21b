"""Keyfuse's own keys: no provider knows them, the gates alone take them. A step is a verdict, read back from the gates.

It is a verdict of its own, beside that of an incident: each is taken back by whoever gave it, and the harder one holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from schemas.verdict import HARDNESS, GateState

STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType({
    "throttle": StepSpec(True, "key", 1, "The key may make a few requests a minute at each gate."),
    "block": StepSpec(True, "key", 1, "The key is refused by every gate until the verdict is taken back."),
})  # fmt: skip
_STATES: Final[Mapping[Step, GateState]] = MappingProxyType({"throttle": "throttle", "block": "deny"})


class Standing(NamedTuple):
    """At how many of the gates that run a key's verdict is in force."""

    held: int
    of: int
    silent: tuple[str, ...] = ()  # those of which it is not known


class GatePort(Protocol):
    """The verdicts' topic and the gates' reports. Every method may raise `ProviderError` and nothing else."""

    async def verdict(self, key_id: str) -> GateState:
        """The newest of this provider's, as the topic has it. Refused(UNKNOWN_KEY) for a key that nobody issued."""

    async def tell(self, key_id: str, state: GateState) -> None:
        """Give one."""

    async def standing(self, key_id: str) -> Standing | None:
        """After a wait of a few seconds at most; None where no gate runs."""


def steps_of(ref: str) -> Mapping[Step, StepSpec]:
    """The steps for one key, which goes by its key_id."""
    return STEPS if ref.startswith("fp1:") else {}


class GateProvider:
    """Speaks through the broker; the worker connects it once it has one."""

    def __init__(self, name: str, port: GatePort | None = None) -> None:
        self.name = name
        self.steps = STEPS
        self._port = port

    def connect(self, port: GatePort) -> None:
        self._port = port

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_of(ref)

    async def snapshot(self, ref: str) -> dict[str, str]:
        return {"verdict": await self._there.verdict(ref)}

    async def apply(self, step: Step, ref: str) -> str:
        state = self._state(step)
        held = await self._there.verdict(ref)
        return await self._tell(ref, max(held, state, key=HARDNESS.index))

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        state = self._state(step)
        held = await self._there.verdict(ref)
        return Effect("yes" if HARDNESS.index(held) >= HARDNESS.index(state) else "no", f"the verdict is {held}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        """Every gate has it, or else the key may still pass somewhere. Without gates nobody takes the key at all."""
        held = await self._there.verdict(ref)
        standing = await self._there.standing(ref)
        if standing is None:
            return None
        words = f"the verdict {held} is in force at {standing.held} of {standing.of} gates"
        if standing.silent:
            return Effect("unknown", f"{words}, not known of {', '.join(standing.silent)}")
        return Effect("yes" if held == "deny" else "no", words)

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._state(step)
        before = pre_state.get("verdict", "allow")
        return await self._tell(ref, before if before in HARDNESS else "allow")

    async def close(self) -> None:
        """Nothing of its own to give back."""

    async def _tell(self, ref: str, state: GateState) -> str:
        await self._there.tell(ref, state)
        return f"the verdict {state} was given"

    def _state(self, step: Step) -> GateState:
        if step not in _STATES:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key")
        return _STATES[step]

    @property
    def _there(self) -> GatePort:
        if self._port is None:
            raise Retryable(Reason.UNAVAILABLE, f"{self.name}: the broker is not connected yet")
        return self._port


def from_config(name: str, _: ProviderConfig, __: SecretStr, *, timeout_s: float) -> GateProvider:
    """Without settings: the broker has its own patience."""
    assert timeout_s > 0  # noqa: S101 - what every provider is given
    return GateProvider(name)
