"""What the cheaper models save: each call that was moved to one, by hour, budget, app and models. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple, Protocol

from gate.decide import Answer, Settled, Used
from gate.ports import Prices, Rates
from schemas.call import Call
from schemas.records import KeyFacts
from schemas.spend import DegradeSum

_HOUR_MS: Final = 3_600_000
_WAITING: Final = 100_000  # calls under way; of one more the oldest saves nothing
_BY_BUDGET: Final = "budget "  # begins the rule of an answer that a budget gave


class Decides(Protocol):
    """Who answers calls."""

    def authorize(self, call: Call, tick_ms: Any) -> Answer: ...  # noqa: ANN401 - of its own clock

    def settle(self, reservation: str, used: Used, at_ms: int) -> Settled: ...


class Knows(Protocol):
    """Whose a key is."""

    def facts(self, key_id: str) -> KeyFacts: ...


class _Moved(NamedTuple):
    key: tuple[str, ...]
    asked: Rates | None
    instead: Rates | None


class Savings:
    """Stands before a decider and counts. It answers what the decider answers."""

    def __init__(self, inner: Decides, known: Knows, prices: Prices, *, gate: str) -> None:
        self._inner, self._known, self._prices, self._gate = inner, known, prices, gate
        self._moved: OrderedDict[str, _Moved] = OrderedDict()
        self._sums: dict[tuple[int, tuple[str, ...]], DegradeSum] = {}
        self._grown: set[tuple[int, tuple[str, ...]]] = set()

    def authorize(self, call: Call, tick_ms: Any) -> Answer:  # noqa: ANN401 - as above
        answer = self._inner.authorize(call, tick_ms)
        if answer.state == "degrade" and answer.rule.startswith(_BY_BUDGET):
            self._note(call, answer)
        return answer

    def settle(self, reservation: str, used: Used, at_ms: int) -> Settled:
        settled = self._inner.settle(reservation, used, at_ms)
        moved = self._moved.pop(reservation, None)
        if moved is not None and settled.state == "settled" and moved.asked and moved.instead:
            spent, cost = _cost(used, moved.instead), _cost(used, moved.asked)
            self._add(at_ms, moved.key, settled=1, spent_nano_usd=spent, saved_nano_usd=cost - spent)
        return settled

    def take_grown(self, at_ms: int) -> list[DegradeSum]:
        """The sums that have grown since the last call; hours that are long over are forgotten with it."""
        taken, self._grown = self._grown, set()
        told = [self._sums[each] for each in sorted(taken)]
        now = at_ms // _HOUR_MS
        for each in [each for each in self._sums if each[0] < now - 1]:  # a clock may go back a little
            del self._sums[each]
        return told

    def give_back(self, sums: list[DegradeSum]) -> None:
        """They could not be told: next time again."""
        for one in sums:
            each = (one.hour, (one.budget, one.team, one.app, one.env, one.model, one.instead))
            self._sums.setdefault(each, one)
            self._grown.add(each)

    def _note(self, call: Call, answer: Answer) -> None:
        facts = self._known.facts(call.key_id)
        budget = answer.rule.removeprefix(_BY_BUDGET)
        key = (budget, facts.team, facts.app, facts.env, call.model, answer.model)
        asked, instead = (self._prices(facts.provider, model, call.at_ms) for model in (call.model, answer.model))
        self._moved[answer.reservation] = _Moved(key, asked, instead)
        if len(self._moved) > _WAITING:
            self._moved.popitem(last=False)
        self._add(call.at_ms, key, calls=call.requests)

    def _add(self, at_ms: int, key: tuple[str, ...], **more: int) -> None:
        each = (at_ms // _HOUR_MS, key)
        known = self._sums.get(each)
        if known is None:
            budget, team, app, env, model, instead = key
            known = DegradeSum(
                gate=self._gate, hour=each[0], budget=budget, team=team, app=app, env=env, model=model,
                instead=instead, calls=0, settled=0, spent_nano_usd=0, saved_nano_usd=0,
            )  # fmt: skip
        grown = {name: getattr(known, name) + value for name, value in more.items()}
        self._sums[each] = known.model_copy(update=grown)
        self._grown.add(each)


def _cost(used: Used, rates: Rates) -> int:
    return round(used.input_tokens * rates[0] + used.output_tokens * rates[1])
