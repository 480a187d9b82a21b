"""May this call be made? The verdict, the key's life, its policies, ceilings and budgets, in this order.

Pure: no clock, no I/O. One call is decided and what it takes is reserved in one breath, so however many calls are under
way at once, their reservations never pass a ceiling. `at_ms` of a call is the wall clock, for hours, lives and periods;
`tick_ms` is a clock that never jumps, for windows and reservations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from gate.budgets import cheaper, tightened
from gate.known import Known
from gate.life import by_life
from gate.ports import Amount, BudgetPlane, Ceiling, PolicyPlane, Prices, Rate, Rates, Reach, Slices
from gate.reservations import Reservation, Reservations
from gate.windows import DAY_S, NEVER, Window, Windows
from schemas.call import ALLOW, Call, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.config.wiring import GateConfig
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.verdict import GateState, GateVerdict

_UNITS: Final = {"requests": "requests", "tokens": "tokens", "nano_usd": "USD"}


class Answer(NamedTuple):
    """What the gateway is told. Everything but `allow` has a rule and a reason in words."""

    state: GateState
    key_id: str
    reason: str = ""
    rule: str = ""
    retry_after_s: float | None = None
    model: str = ""
    reservation: str = ""
    use_instead: str = ""


class Settled(NamedTuple):
    """What became of a settle."""

    state: str  # settled, already, late or unknown
    reason: str = ""


class Used(NamedTuple):
    """What a call came to, as the gateway saw it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int | None = None  # None: worked out from the tokens


@dataclass
class Planes:
    """What rules there are; replaced as a whole."""

    policies: PolicyPlane
    budgets: BudgetPlane
    settings: GateConfig


class Decider:
    """One replica's answers."""

    def __init__(
        self, known: Known, planes: Planes, *, slices: Slices, reach: Reach, prices: Prices, reservations: Reservations
    ) -> None:
        self.planes = planes
        self.windows = Windows()
        self.reservations = reservations
        self.counts: Counter[str] = Counter()  # what is shown as metrics
        self._known, self._slices, self._reach, self._prices = known, slices, reach, prices

    def authorize(self, call: Call, tick_ms: float) -> Answer:
        key_id, known = call.key_id, self._known
        verdict, entry, facts = known.verdict(key_id), known.entry(key_id), known.facts(key_id)
        ruling = self._refusal(call, verdict, entry, facts)
        if ruling.state == "deny":
            return self._refused(ruling, verdict, entry, key_id)
        budgets = self.planes.budgets.covering(key_id, facts)
        slowed = _slowed(verdict, entry, self.planes.settings)
        degraded = self._degraded(call, facts, verdict, budgets)
        if degraded.model:
            call = call._replace(model=degraded.model)
            ruling = self.planes.policies.judge(call, facts, entry)
            if ruling.state != "allow":
                return self._refused(ruling, verdict, entry, key_id)
        elif verdict is not None and verdict.state == "degrade":
            slowed = (_slow_rate("verdict", self.planes.settings), *slowed)  # nothing cheaper is approved
        ceilings = self.planes.policies.ceilings(key_id, facts, entry, call.at_ms)
        more = (*slowed, *self._reach.ceilings(facts, call.at_ms))
        if more:
            ceilings = lowest((*more, *ceilings))
        amount, rates = self._amount(call, facts)
        ruling = self._short(call, amount, ceilings, budgets, tick_ms)
        if ruling.state != "allow":
            return self._refused(ruling, verdict, entry, key_id)
        taken = self._reserve(call, amount, rates, ceilings, budgets, tick_ms)
        self.counts[degraded.state] += 1
        use_instead = verdict.use_instead if verdict else ""
        return Answer(
            degraded.state, key_id, degraded.reason, degraded.rule, None, degraded.model, taken.reservation, use_instead
        )

    def settle(self, reservation: str, used: Used, at_ms: int) -> Settled:
        """Give back what was reserved and not used. Said twice it counts once; the first word holds."""
        ended = self.reservations.end(reservation)
        self.counts[f"settle_{ended.state}"] += 1
        if ended.open is not None:
            self._close(ended.open, _amount_of(used, ended.open), at_ms)
        return Settled(ended.state, _SETTLE_WORDS[ended.state])

    def expire(self, at_ms: int, tick_ms: float) -> int:
        """Calls that nobody settled in time are counted at what was reserved; how many."""
        late = self.reservations.expired(tick_ms)
        for each in late:
            self._close(each, each.reserved, at_ms)
        self.counts["expired"] += len(late)
        return len(late)

    def _refusal(self, call: Call, verdict: GateVerdict | None, entry: KeyRecord | None, facts: KeyFacts) -> Ruling:
        """The first plane that says no."""
        if verdict is not None and verdict.state == "deny":
            return Ruling("deny", f"verdict of incident {verdict.incident_id}", verdict.reason)
        ruling = by_life(entry, call.at_ms, unknown=self.planes.settings.unknown_keys)
        if ruling.state == "allow":
            ruling = self._reach.judge(facts, call.at_ms)
        return ruling if ruling.state != "allow" else self.planes.policies.judge(call, facts, entry)

    def _degraded(
        self, call: Call, facts: KeyFacts, verdict: GateVerdict | None, budgets: Iterable[BudgetConfig]
    ) -> Ruling:
        """A cheaper model: because of a verdict any that was approved, because of a budget where it is in force."""
        if verdict is not None and verdict.state == "degrade":
            approved = (budget.degrade.models for budget in budgets if budget.degrade is not None)
            model = next(filter(None, (cheaper(call.model, models) for models in approved)), "")
            if model:
                return Ruling("degrade", f"verdict of incident {verdict.incident_id}", verdict.reason, model=model)
        return tightened(call.model, facts, budgets, self._known.status)

    def _amount(self, call: Call, facts: KeyFacts) -> tuple[Amount, Rates | None]:
        """The most that the call can come to."""
        settings = self.planes.settings
        asked = call.max_output_tokens
        output = (settings.max_output_tokens if asked is None else asked) * call.requests
        rates = self._prices(facts.provider, call.model, call.at_ms)
        if rates is None:
            self.counts["unpriced"] += 1
        cost = 0 if rates is None else round(call.input_tokens * rates[0] + output * rates[1])
        return Amount(call.requests, call.input_tokens + output, cost), rates

    def _short(
        self, call: Call, amount: Amount, ceilings: Iterable[Ceiling], budgets: Iterable[BudgetConfig], tick_ms: float
    ) -> Ruling:
        """What lacks room for the amount: nothing is taken before everything has room."""
        for ceiling in ceilings:
            needed = amount.of(ceiling.unit)
            wait_s = self.windows.wait_s(ceiling, call.key_id, needed, _time(ceiling, call, tick_ms))
            if wait_s:
                return _over(ceiling, needed, wait_s)
        for budget in budgets:
            if budget.hard_stop:
                ruling = self._slices.ask(budget, amount, call.at_ms)
                if ruling.state != "allow":
                    return ruling
        return ALLOW

    def _reserve(
        self, call: Call, amount: Amount, rates: Rates | None, ceilings: Iterable[Ceiling],
        budgets: Iterable[BudgetConfig], tick_ms: float,
    ) -> Reservation:  # fmt: skip
        buckets = tuple(
            ((each.unit, each.window_s),
             self.windows.add(each, call.key_id, amount.of(each.unit), _time(each, call, tick_ms)))
            for each in ceilings
        )  # fmt: skip
        names = tuple(budget.name for budget in budgets if budget.hard_stop)
        for name in names:
            self._slices.take(name, amount, call.at_ms)
        return self.reservations.open(
            call.key_id, amount, rates=rates, budgets=names, buckets=buckets, at_ms=tick_ms
        )  # fmt: skip

    def _close(self, taken: Reservation, used: Amount, at_ms: int) -> None:
        for name in taken.budgets:
            self._slices.settle(name, taken.reserved, used, at_ms)
        for window, bucket in taken.buckets:
            difference = used.of(window[0]) - taken.reserved.of(window[0])
            if difference:
                self.windows.correct(window, taken.key_id, bucket, difference)

    def _refused(self, ruling: Ruling, verdict: GateVerdict | None, entry: KeyRecord | None, key_id: str) -> Answer:
        self.counts[ruling.state] += 1
        instead = (verdict and verdict.use_instead) or (entry and entry.replaced_by) or ""
        return Answer(ruling.state, key_id, ruling.reason, ruling.rule, ruling.retry_after_s, use_instead=instead)


def lowest(ceilings: Iterable[Ceiling]) -> tuple[Ceiling, ...]:
    """One for each unit and window: what a key used is counted once."""
    found: dict[Window, Ceiling] = {}
    for each in ceilings:
        window = (each.unit, each.window_s)
        if window not in found or each.limit < found[window].limit:
            found[window] = each
    return tuple(found.values())


def _slowed(verdict: GateVerdict | None, entry: KeyRecord | None, settings: GateConfig) -> tuple[Ceiling, ...]:
    """A few requests a minute, for a key that is throttled by an incident or in its life."""
    if verdict is not None and verdict.state == "throttle":
        return (_slow_rate(f"verdict of incident {verdict.incident_id}", settings),)
    if entry is not None and entry.state == "throttled":
        return (_slow_rate("life of the key: its owner did not answer", settings),)
    return ()


def _slow_rate(why: str, settings: GateConfig) -> Ceiling:
    return Rate(f"{why}: throttled", "requests", 60, settings.throttled_requests_per_min)


def _time(ceiling: Ceiling, call: Call, tick_ms: float) -> float:
    return call.at_ms if ceiling.window_s == DAY_S else tick_ms


def _over(ceiling: Ceiling, needed: int, wait_s: float) -> Ruling:
    """Come back later; or never, when one call alone is too much."""
    scale = 1e9 if ceiling.unit == "nano_usd" else 1
    limit = f"{ceiling.limit / scale:,.10g} {_UNITS.get(ceiling.unit, ceiling.unit)} in {ceiling.window_s:,g} s"
    if wait_s == NEVER:
        words = f"this call alone may take {needed / scale:,.10g}, and the ceiling is {limit}: ask for less"
        return Ruling("deny", ceiling.rule, words)
    words = f"the ceiling of {limit} is reached: try again in {wait_s:.1f} s"
    return Ruling("throttle", ceiling.rule, words, retry_after_s=round(wait_s, 3))


def _amount_of(used: Used, taken: Reservation) -> Amount:
    """What the call came to; by the price of its model where the gateway names no cost."""
    cost = used.cost_nano_usd
    if cost is None:
        rates = taken.rates or (0.0, 0.0)
        cost = round(used.input_tokens * rates[0] + used.output_tokens * rates[1])
    return Amount(taken.reserved.requests, used.input_tokens + used.output_tokens, cost)


_SETTLE_WORDS: Final = {
    "settled": "",
    "already": "it was settled before: the first word holds",
    "late": "it was too late: the call is counted at what was reserved for it",
    "unknown": "no such reservation here: it was settled long ago, or made by another replica",
}
