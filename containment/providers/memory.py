"""The fake that ships: a provider in memory, with faults on order. Same protocol, same test suite."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from schemas.records import Step

STEPS: Final[Mapping[Step, StepSpec]] = MappingProxyType(
    {
        "throttle": StepSpec(True, "key", 0, "The key is slowed down."),
        "disable": StepSpec(True, "key", 0, "The key is refused until it is enabled again."),
        "revoke": StepSpec(False, "key", 0, "The key is refused for good."),
    }
)
_LEVEL: Final = {"active": 0, "disable": 1, "revoke": 2}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call.

    before: nothing happens, the error is raised. after: it happens, and the error is raised all the same.
    ignored: nothing happens, and the answer says it did.
    """

    kind: Literal["before", "after", "ignored"] = "before"
    error: BaseException | None = None
    on: Literal["any", "change"] = "any"  # "change" waits for the next apply or undo


class MemoryProvider:
    """Keys in a dict.

    Args:
        name: As events call the provider.
        keys: The refs it knows, all active.
        lag: How many probes after a change still meet the old state.
    """

    def __init__(self, name: str, keys: tuple[str, ...], *, lag: int = 0) -> None:
        self.name = name
        self.steps = STEPS
        self.lag = lag
        self.faults: deque[Fault] = deque()
        self.calls: list[tuple[str, str]] = []
        self.effective: Counter[str] = Counter()  # changes that changed something, per ref
        self._level = dict.fromkeys(keys, "active")
        self._throttled: set[str] = set()
        self._stale: dict[str, int] = {}

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return self.steps

    async def snapshot(self, ref: str) -> dict[str, str]:
        self._begin("snapshot", ref)
        return {"status": self._level[ref], "throttled": "yes" if ref in self._throttled else "no"}

    async def apply(self, step: Step, ref: str) -> str:
        self._known(step)
        return self._change(f"apply {step}", ref, step)

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        self._known(step)
        self._begin("in_effect", ref)
        held = ref in self._throttled if step == "throttle" else _LEVEL[self._level[ref]] >= _LEVEL[step]
        return Effect("yes" if held else "no", f"the key is {self._level[ref]}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        self._begin("probe", ref)
        refused = self._level[ref] != "active"
        if self._stale.get(ref, 0) > 0:
            self._stale[ref] -= 1
            refused = not refused
        return Effect("yes" if refused else "no", "refused" if refused else "served")

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        self._known(step)
        if step == "revoke" or self._level.get(ref) == "revoke":
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: a revoked key cannot come back")
        if step == "throttle":
            target = "throttle" if pre_state.get("throttled") == "yes" else "unthrottle"
        else:
            target = pre_state.get("status", "active")
        return self._change(f"undo {step}", ref, target)

    async def close(self) -> None:
        self.faults.clear()

    def _change(self, call: str, ref: str, target: str) -> str:
        fault = self._begin(call, ref, changing=True)
        if fault is None or fault.kind != "ignored":
            self._set(ref, target)
        if fault and fault.error:
            raise fault.error
        return f"{call}: done"

    def _set(self, ref: str, target: str) -> None:
        before = (self._level[ref], ref in self._throttled)
        if target == "throttle":
            self._throttled.add(ref)
        elif target == "unthrottle":
            self._throttled.discard(ref)
        elif self._level[ref] != "revoke":
            self._level[ref] = target
        if before != (self._level[ref], ref in self._throttled):
            self.effective[ref] += 1
            self._stale[ref] = self.lag if before[0] != self._level[ref] else 0

    def _begin(self, call: str, ref: str, *, changing: bool = False) -> Fault | None:
        """Note the call; raise what was ordered to go wrong before it, hand back what goes wrong later."""
        self.calls.append((call, ref))
        fault = None
        if self.faults and (changing or self.faults[0].on == "any"):
            fault = self.faults.popleft()
        if fault and fault.error and (fault.kind == "before" or not changing):
            raise fault.error
        if ref not in self._level:
            raise Refused(Reason.UNKNOWN_KEY, f"{call} {ref}: the provider does not know this key")
        return fault

    def _known(self, step: Step) -> None:
        if step not in self.steps:
            raise Refused(Reason.NOT_SUPPORTED, f"{self.name} cannot {step} a key")


def unavailable(words: str = "answered 503") -> ProviderError:
    """The most usual fault."""
    return Retryable(Reason.UNAVAILABLE, words)
