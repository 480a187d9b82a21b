"""What every provider can do, and says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol

from schemas.records import Step

Scope = Literal["key", "project", "account", "gateway"]


class StepSpec(NamedTuple):
    """One step as this provider does it."""

    reversible: bool
    scope: Scope  # what stops working: how far the damage of a cut reaches
    typical_s: float  # until the step is in effect, as far as the provider says
    breaks: str  # in words, for the person who approves


StepsOf = Callable[[str], Mapping[Step, StepSpec]]
"""What can be done with one key, by its `provider_ref`: `steps_of` of a provider, or of its module."""


class Effect(NamedTuple):
    """Whether something is so, as the provider shows it, and how we know."""

    state: Literal["yes", "no", "unknown"]
    words: str


class Provider(Protocol):
    """One provider's admin API. Every method may raise `ProviderError` and nothing else.

    Retrying is the caller's: an adapter makes each call once.
    """

    @property
    def name(self) -> str:
        """As events and `keys.yaml` call it."""

    @property
    def steps(self) -> Mapping[Step, StepSpec]:
        """What can be done here, for one key or another; a step that is missing cannot."""

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        """What can be done with this key, told from the form of its `provider_ref` alone: a part of `steps`.

        Nothing for a reference that has no form of this provider. Never a call.
        """

    async def snapshot(self, ref: str) -> dict[str, str]:
        """How the key stands now, for undo. Never a secret. Raises Refused when the key is unknown."""

    async def apply(self, step: Step, ref: str) -> str:
        """Do it; returns what the provider said. Doing it twice is the same as once."""

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        """Read back whether the step holds. Never trusts what `apply` was answered.

        `pre_state` is what `snapshot` saw before the step was ordered, perhaps by another process: for a provider that
        shows no more than how a key is now.
        """

    async def probe(self, step: Step, ref: str) -> Effect | None:
        """Is the key really refused ("yes") or served ("no")? None where that takes the key's secret, or tells nothing.

        `step` is the one that was ordered or undone; see `containment.probed` for keys whose secret is at hand.
        """

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        """Put back what `snapshot` saw; returns what the provider said."""

    async def close(self) -> None:
        """Give back connections."""


def reversibility(steps: Mapping[Step, StepSpec], *, wider: bool = False) -> dict[Step, bool]:
    """The steps that may be chosen without a person, each with whether it can be undone.

    What reaches further than the key stops healthy users as well: it is left out unless `wider`.
    """
    return {step: spec.reversible for step, spec in steps.items() if wider or spec.scope == "key"}
