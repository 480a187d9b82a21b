"""A provider that does to a call what providers do: late, twice, not at all, and says otherwise."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from containment.providers.base import Effect, StepSpec
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.memory import STEPS
from schemas.records import Step

ORDER: Final[ContextVar[str]] = ContextVar("order", default="")
"""The order that a call is made for. The provider keeps it beside what was changed; the stage knows nothing of it."""
HANGS_S: Final = 10_000.0
LATE_S: Final = 15.0  # after it was asked for, and after the caller's patience
STALE_S: Final = 15.0
_RANK: Final = {"active": 0, "disable": 1, "revoke": 2}


class State(NamedTuple):
    """How a key stands."""

    level: str = "active"
    throttled: bool = False

    def holds(self, step: str) -> bool:
        return self.throttled if step == "throttle" else _RANK[self.level] >= _RANK[step]


class Change(NamedTuple):
    """What a call changed."""

    at_s: float
    ref: str
    order: str
    before: State
    after: State
    judged_s: float  # when its order was last handed to the stage, before the change was asked for


@dataclass(frozen=True)
class Weather:
    """How bad a history is: shares of calls, and when nobody answers at all."""

    before: float  # nothing happens, and the call fails
    after: float  # it happens, and the call fails all the same
    late: float  # it happens some seconds after the caller has given up
    lies: float  # "done", and nothing happened
    stale: float  # a read shows how the key stood some seconds ago
    defect: float  # the adapter itself breaks
    front_doors_s: float  # so long the key may be served after it was cut
    outages_s: tuple[tuple[float, float], ...]


@dataclass
class FaultyProvider:
    """Keys, each with its whole past. The faults of a call depend on the seed, the key and the call's number alone."""

    name: str
    seed: str
    weather: Weather
    refs: frozenset[str]
    began: Callable[[str], float] = lambda _: 0.0
    """Told when a change is asked for; answers when its order was handed to the stage."""
    past: dict[str, list[tuple[float, State]]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    steps: Mapping[Step, StepSpec] = field(default_factory=lambda: STEPS)
    _calls: Counter[str] = field(default_factory=Counter)
    _doors_s: dict[str, float] = field(default_factory=dict)

    def steps_of(self, ref: str) -> Mapping[Step, StepSpec]:
        return self.steps

    def truth(self, ref: str) -> State:
        return self._at(ref, _now_s())

    def served(self, ref: str) -> bool:
        """At its front doors, which hear of a change later than its books."""
        return self._at(ref, _now_s() - self._doors_s.get(ref, 0.0)).level == "active"

    async def snapshot(self, ref: str) -> dict[str, str]:
        state = await self._read(ref)
        return {"status": state.level, "throttled": "yes" if state.throttled else "no"}

    async def in_effect(self, step: Step, ref: str, *, pre_state: Mapping[str, str] | None = None) -> Effect:
        state = await self._read(ref)
        return Effect("yes" if state.holds(step) else "no", f"the key is {state.level}")

    async def probe(self, step: Step, ref: str) -> Effect | None:
        rng = self._draw(ref)
        await self._answer(rng)
        if not can_probe(ref):
            return None
        served = self.served(ref)
        return Effect("no" if served else "yes", "served" if served else "refused")

    async def apply(self, step: Step, ref: str) -> str:
        return await self._change(ref, lambda state: _cut(state, step))

    async def undo(self, step: Step, ref: str, pre_state: Mapping[str, str]) -> str:
        if self.truth(ref).level == "revoke":
            raise Refused(Reason.FINAL, f"undo {step} of {ref}: a revoked key cannot come back")
        return await self._change(ref, lambda state: _back(state, step, pre_state))

    async def close(self) -> None:
        """Nothing is held."""

    async def _read(self, ref: str) -> State:
        rng = self._draw(ref)
        await self._answer(rng)
        if ref not in self.refs:
            raise Refused(Reason.UNKNOWN_KEY, f"read {ref}: the provider does not know this key")
        if rng.random() < self.weather.stale:
            self.faults["stale read"] += 1
            return self._at(ref, _now_s() - rng.uniform(0, STALE_S))
        return self.truth(ref)

    async def _change(self, ref: str, to: Callable[[State], State]) -> str:
        rng, order, weather = self._draw(ref), ORDER.get(), self.weather
        judged_s = self.began(order)
        await self._answer(rng)
        chance = rng.random()
        if chance < weather.lies:
            self.faults["lie"] += 1
        elif chance < weather.lies + weather.late:
            self.faults["late effect"] += 1
            asyncio.get_running_loop().call_later(rng.uniform(0, LATE_S), self._set, ref, order, to, judged_s)
            await asyncio.sleep(HANGS_S)
        else:
            self._set(ref, order, to, judged_s)
            self._doors_s[ref] = rng.uniform(0, weather.front_doors_s)
            if rng.random() < weather.after:
                await self._fail(rng, "after the effect")
        return "done"

    async def _answer(self, rng: random.Random) -> None:
        """What comes between the question and its being heard."""
        await asyncio.sleep(rng.uniform(0.02, 0.6))
        if any(begin <= _now_s() < end for begin, end in self.weather.outages_s):
            self.faults["outage"] += 1
            await self._fail(rng, "", kinds=3)
        if rng.random() < self.weather.before:
            await self._fail(rng, "before the effect")
        if rng.random() < self.weather.defect:
            self.faults["defect of the adapter"] += 1
            raise RuntimeError("a defect")

    async def _fail(self, rng: random.Random, when: str, *, kinds: int = 5) -> None:
        kind = rng.randrange(kinds)
        if when:
            self.faults[f"{('no answer', 'connection lost', '5xx', '429', '400')[kind]} {when}"] += 1
        if kind == 0:
            await asyncio.sleep(HANGS_S)
        if kind == 1:
            raise Retryable(Reason.NETWORK, "the connection was lost")
        if kind == 3:
            raise Retryable(Reason.RATE_LIMITED, "answered 429", retry_after_s=rng.choice([0.5, 2, 10, 60]))
        if kind == 4:
            raise Refused(Reason.REJECTED, "answered 400")
        raise Retryable(Reason.UNAVAILABLE, "answered 503")

    def _set(self, ref: str, order: str, to: Callable[[State], State], judged_s: float) -> None:
        before = self.truth(ref)
        after = to(before)
        if after != before:
            self.changes.append(Change(_now_s(), ref, order, before, after, judged_s))
            self.past.setdefault(ref, [(-1.0, State())]).append((_now_s(), after))

    def _at(self, ref: str, at_s: float) -> State:
        past = self.past.get(ref, [])
        place = bisect_right(past, at_s, key=lambda entry: entry[0])
        return past[place - 1][1] if place else State()

    def _draw(self, ref: str) -> random.Random:
        self._calls[ref] += 1
        return random.Random(f"{self.seed}/{ref}/{self._calls[ref]}")


def can_probe(ref: str) -> bool:
    """Of every tenth key the secret would be needed."""
    return not ref.endswith("0")


def _cut(state: State, step: Step) -> State:
    if step == "throttle":
        return state._replace(throttled=True)
    return state if _RANK[state.level] >= _RANK[step] else state._replace(level=step)


def _back(state: State, step: Step, pre_state: Mapping[str, str]) -> State:
    if step == "throttle":
        return state._replace(throttled=pre_state.get("throttled") == "yes")
    return state if state.level == "revoke" else state._replace(level=pre_state.get("status", "active"))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
