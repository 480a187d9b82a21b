"""May this call be made? The verdict, the key's life, its policies, ceilings and budgets, in this order.

Pure: no clock, no I/O. One call is decided and what it takes is reserved in one breath, so however many calls are under
way at once, their reservations never pass a ceiling. `at_ms` of a call is the wall clock, for hours, lives and periods;
`tick_ms` is a clock that never jumps, for windows and reservations.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from controls.budgets import QUOTA
from gate.budgets import cheaper, over_seen, tightened
from gate.known import Known
from gate.life import by_life
from gate.ports import Amount, BudgetPlane, Ceiling, PolicyPlane, Prices, Rate, Rates, Reach, Slices
from gate.reservations import Reservations, Taken
from gate.unpriced import Dearest, counted_at, refusal, usd_limit
from gate.windows import NEVER, Account, Windows
from schemas.call import ALLOW, Call, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.config.wiring import GateConfig
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.verdict import GateState, GateVerdict


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
        self, known: Known, planes: Planes, *, slices: Slices, reach: Reach, prices: Prices, dearest: Dearest,
        reservations: Reservations,
    ) -> None:  # fmt: skip
        self.planes = planes
        self.windows = Windows()
        self.reservations = reservations
        self.counts: Counter[str] = Counter()  # what is shown as metrics
        self._known, self._slices, self._reach = known, slices, reach
        self._prices, self._dearest = prices, dearest

    def authorize(self, call: Call, tick_ms: int) -> Answer:
        key_id, known = call.key_id, self._known
        verdict, entry, facts = known.verdict(key_id), known.entry(key_id), known.facts(key_id)
        ruling = self._refusal(call, verdict, entry, facts)
        if ruling.state != "allow":
            return self._refused(ruling, verdict, entry, key_id)
        if call.requests == 0:
            return Answer("allow", key_id)
        budgets = self.planes.budgets.covering(key_id, facts)
        degraded = self._degraded(call, facts, verdict, budgets)
        if degraded.model:
            call = call._replace(model=degraded.model)
            ruling = self.planes.policies.judge(call, facts, entry)
            if ruling.state != "allow":
                return self._refused(ruling, verdict, entry, key_id)
        slowed = _slowed(verdict, entry, self.planes.settings, degraded=bool(degraded.model))
        account = self.windows.account(key_id, self._ceilings(call, facts, entry, slowed))
        rates, ruling = self._rates(call, facts, budgets, account)
        amount = self._amount(call, rates)
        if ruling.state == "allow":
            asked = () if self._reach.waives(facts) else budgets
            ruling = self._short(account, amount, asked, call, tick_ms)
        if ruling.state != "allow":
            return self._refused(ruling, verdict, entry, key_id)
        account.add(amount)
        slices, at_ms = self._slices, call.at_ms
        stops = tuple([(each.name, slices.take(each, amount, at_ms)) for each in budgets if each.hard_stop])
        taken = Taken(key_id, amount, rates, stops, account, account.shape, call.at_ms, tick_ms)
        reservation = self.reservations.open(taken)
        self.counts[degraded.state] += 1
        instead = verdict.use_instead if verdict is not None else ""
        state, rule, reason, _, model = degraded
        return Answer(state, key_id, reason, rule, None, model, reservation, instead)

    def settle(self, reservation: str, used: Used, at_ms: int) -> Settled:
        """Give back what was reserved and not used. Said twice it counts once; the first word holds."""
        ended = self.reservations.end(reservation)
        self.counts[f"settle_{ended.state}"] += 1
        if ended.taken is not None:
            self._close(ended.taken, _amount_of(used, ended.taken))
        return Settled(ended.state, _SETTLE_WORDS[ended.state])

    def expire(self, at_ms: int, tick_ms: int) -> int:
        """Calls that nobody settled in time are counted at what was reserved; how many."""
        late = self.reservations.expired(tick_ms)
        for taken in late:
            self._close(taken, taken.reserved)
        self.counts["expired"] += len(late)
        return len(late)

    def _refusal(self, call: Call, verdict: GateVerdict | None, entry: KeyRecord | None, facts: KeyFacts) -> Ruling:
        """The first plane that says no."""
        if verdict is not None and verdict.state == "deny":
            return Ruling("deny", f"verdict of incident {verdict.incident_id}", verdict.reason)
        unknown = "deny" if call.ours else self.planes.settings.unknown_keys
        ruling = by_life(entry, call.at_ms, unknown=unknown)
        if ruling.state == "allow":
            ruling = self._reach.judge(facts)
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

    def _rates(
        self, call: Call, facts: KeyFacts, budgets: Iterable[BudgetConfig], account: Account
    ) -> tuple[Rates, Ruling]:
        """The price of the model that answers; where it has none what it is taken to cost, or why it is refused."""
        rates = self._prices(facts.provider, call.model, call.at_ms)
        if rates is not None:
            return rates, ALLOW
        self.counts["unpriced"] += 1
        settings, limit = self.planes.settings, usd_limit(budgets, account.shape.usd_of_day)
        taken_at = counted_at(settings, facts.env, self._dearest(facts.provider))
        return taken_at, refusal(call.model, settings, facts.env, limit)

    def _amount(self, call: Call, rates: Rates) -> Amount:
        """The most that the call can come to."""
        asked = call.max_output_tokens
        output = (self.planes.settings.max_output_tokens if asked is None else asked) * call.requests
        cost = round(call.input_tokens * rates[0] + output * rates[1])
        return Amount(call.requests, call.input_tokens + output, cost)

    def _ceilings(
        self, call: Call, facts: KeyFacts, entry: KeyRecord | None, slowed: tuple[Ceiling, ...]
    ) -> tuple[Ceiling, ...]:
        """Those of the policies, and what holds besides for a while; one for each unit and window."""
        ceilings = self.planes.policies.ceilings(call.key_id, facts, entry, call.at_ms)
        more = slowed + self._reach.ceilings(facts)
        return lowest(more + ceilings) if more else ceilings

    def _short(
        self, account: Account, amount: Amount, budgets: Iterable[BudgetConfig], call: Call, tick_ms: int
    ) -> Ruling:
        """What lacks room for the amount: nothing is taken before everything has room."""
        over, at_ms, day = account.over(amount, call.at_ms, tick_ms), call.at_ms, account.shape.usd_of_day
        if over is None and day is not None:
            over = over_seen(day, self._known.status(QUOTA + call.key_id), amount, at_ms)
        if over is not None:
            return _over(*over)
        for budget in budgets:
            if budget.hard_stop:
                ruling = self._slices.ask(budget, amount, at_ms)
                if ruling.state != "allow":
                    return ruling
        return ALLOW

    def _close(self, taken: Taken, used: Amount) -> None:
        reserved = taken.reserved
        for name, period in taken.budgets:
            self._slices.settle(name, period, reserved, used)
        if used != reserved:
            more = Amount(0, used.tokens - reserved.tokens, used.nano_usd - reserved.nano_usd)
            taken.account.correct(taken.shape, more, taken.at_ms, taken.tick_ms)

    def _refused(self, ruling: Ruling, verdict: GateVerdict | None, entry: KeyRecord | None, key_id: str) -> Answer:
        self.counts[ruling.state] += 1
        instead = (verdict and verdict.use_instead) or (entry and entry.replaced_by) or ""
        return Answer(ruling.state, key_id, ruling.reason, ruling.rule, ruling.retry_after_s, use_instead=instead)


def lowest(ceilings: Iterable[Ceiling]) -> tuple[Ceiling, ...]:
    """One for each unit and window: what a key used is counted once."""
    found: dict[tuple[str, float], Ceiling] = {}
    for each in ceilings:
        window = (each.unit, each.window_s)
        if window not in found or each.limit < found[window].limit:
            found[window] = each
    return tuple(found.values())


def _slowed(
    verdict: GateVerdict | None, entry: KeyRecord | None, settings: GateConfig, *, degraded: bool
) -> tuple[Ceiling, ...]:
    """A few requests a minute: a key that is throttled by an incident or in its life, or has no cheaper model.

    Calls that have one are counted and never slowed: else each of them would make the others' count begin anew.
    """
    why, limit = "", float(settings.throttled_requests_per_min)
    if verdict is not None and verdict.state in {"throttle", "degrade"}:
        why = f"verdict of incident {verdict.incident_id}"
        limit = math.inf if verdict.state == "degrade" and degraded else limit
    elif entry is not None and entry.state == "throttled":
        why = "life of the key"
    return (Rate(f"{why}: throttled", "requests", 60, limit),) if why else ()


def _over(ceiling: Ceiling, needed: int, wait_s: float) -> Ruling:
    """Come back later; or never, when one call alone is too much."""
    scale, unit = (1e9, "USD") if ceiling.unit == "nano_usd" else (1, ceiling.unit)
    limit = f"{ceiling.limit / scale:,.10g} {unit} in {ceiling.window_s:,g} s"
    if wait_s == NEVER:
        words = f"this call alone may take {needed / scale:,.10g}, and the ceiling is {limit}: ask for less"
        return Ruling("deny", ceiling.rule, words)
    words = f"the ceiling of {limit} is reached: try again in {wait_s:.1f} s"
    return Ruling("throttle", ceiling.rule, words, retry_after_s=round(wait_s, 3))


def _amount_of(used: Used, taken: Taken) -> Amount:
    """What the call came to; by the price of its model where the gateway names no cost."""
    cost = used.cost_nano_usd
    if cost is None:
        cost = round(used.input_tokens * taken.rates[0] + used.output_tokens * taken.rates[1])
    return Amount(taken.reserved.requests, used.input_tokens + used.output_tokens, cost)


_SETTLE_WORDS: Final = {
    "settled": "",
    "already": "it was settled before: the first word holds",
    "late": "it was too late: the call is counted at what was reserved for it",
    "unknown": "no such reservation here: it was settled long ago, or made by another replica",
}
