"""What `webhook` and `command` share: your own automation, told what to do in a small message, answering in another.

The message: `{"version": 1, "action": ..., "provider": ..., "ref": ..., "step": ..., "scope": ...}`, and for an undo
`pre_state` as the snapshot gave it. The answer:

| action | asked | answered |
|---|---|---|
| `snapshot` | how does the key stand before anything is done? | `{"pre_state": {...}}`: words, never a secret |
| `apply` | do the step; twice is the same as once | `{"state": ...}` |
| `check` | does the step hold? look, do not remember | `{"state": ...}` |
| `undo` | put back what `pre_state` says | `{"state": ...}` |

`state` is `applied`, `not_applied`, `pending` or `unknown`; `words` may say more.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import SecretStr

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.redact import holds_key, redact
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

Action = Literal["snapshot", "apply", "check", "undo"]
MAX_PRE_STATE_CHARS: Final = 20_000
_EFFECTS: Final[Mapping[str, Literal["yes", "no", "unknown"]]] = MappingProxyType(
    {"applied": "yes", "not_applied": "no", "pending": "unknown", "unknown": "unknown"}
)


def steps_declared(config: ProviderConfig) -> Mapping[Step, StepSpec]:
    """The steps of `providers.<name>.steps`."""
    steps: dict[Step, StepSpec] = {
        step: StepSpec(each.reversible, each.scope, each.typical_s, each.breaks.rstrip(". ") + ".")
        for step, each in config.steps.items()
    }
    return MappingProxyType(steps)


def steps_declared_of(ref: str, steps: Mapping[Step, StepSpec]) -> Mapping[Step, StepSpec]:
    """All declared steps: what a reference means is your automation's business."""
    return steps if ref.strip() else {}


class DeclaredProvider(ABC):
    """A provider whose steps the user declared; how a message gets there and back is the subclass's."""

    def __init__(self, name: str, steps: Mapping[Step, StepSpec], secret: SecretStr) -> None:
        if not steps:
            raise ValueError("steps is missing: which steps your automation has")
        if "revoke" in steps and steps["revoke"].reversible:
            raise ValueError("steps.revoke cannot be reversible: what can be undone is `disable`")
        self.name = name
        self.steps = steps
        self._secret = secret

    @abstractmethod
    async def _ask(self, message: bytes, doing: str) -> dict[str, Any]:
        """The answer to a message. Raises ProviderError."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections."""

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return steps_declared_of(ref, self.steps)

    async def snapshot(self, ref: str) -> dict[str, str]:
        doing = f"read {ref}"
        found = (await self._told("snapshot", ref, doing)).get("pre_state")
        if not isinstance(found, dict) or not all(isinstance(each, str) for pair in found.items() for each in pair):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no pre_state of words")
        text = json.dumps(found)
        if holds_key(text, self._secret):
            raise Refused(
                Reason.REJECTED, f"{doing}: its pre_state holds what looks like a key; a state is never a secret"
            )
        if len(text) > MAX_PRE_STATE_CHARS:
            raise Refused(Reason.REJECTED, f"{doing}: its pre_state is longer than {MAX_PRE_STATE_CHARS:,} characters")
        return {str(key): str(value) for key, value in found.items()}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        return (await self._state("apply", step, ref)).words

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        return await self._state("check", step, ref)

    async def probe(self, step: Step, ref: str) -> Effect | None:
        return None

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if not self.steps[step].reversible:
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: declared as not reversible in keyfuse.yaml")
        return (await self._state("undo", step, ref, pre_state)).words

    async def _state(self, action: Action, step: Step, ref: str, pre_state: Mapping[str, str] | None = None) -> Effect:
        doing = f"{action} {step} of {ref}"
        answer = await self._told(action, ref, doing, step=step, pre_state=pre_state)
        state, words = answer.get("state"), answer.get("words")
        if not isinstance(state, str) or state not in _EFFECTS:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer's state is not one of {', '.join(_EFFECTS)}")
        said = redact(words, self._secret) if isinstance(words, str) else ""
        return Effect(_EFFECTS[state], f"your automation says {state}" + (f": {said}" if said else ""))

    async def _told(
        self,
        action: Action,
        ref: str,
        doing: str,
        *,
        step: Step | None = None,
        pre_state: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        if not ref.strip():
            raise Refused(Reason.BAD_REF, f"{self.name} needs a provider_ref that your automation knows")
        message: dict[str, Any] = {"version": 1, "action": action, "provider": self.name, "ref": ref}
        if step:
            message |= {"step": step, "scope": self.steps[step].scope}
        if pre_state is not None:
            message["pre_state"] = dict(pre_state)
        return await self._ask(json.dumps(message).encode(), doing)

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key; it can {', '.join(self.steps)}")
