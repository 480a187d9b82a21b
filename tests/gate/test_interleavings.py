"""Whatever calls are under way at once, and however they end, no hard ceiling is passed."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gate.decide import Answer
from gate.ports import Rate
from schemas.config.budgets import BudgetConfig
from schemas.config.wiring import GateConfig
from tests.gate.world import KEY, NOW_MS, Gate, Rules

CENTS = 10_000_000
KEYS = ("k1", "k2", "k3")
LIMIT_USD = 0.5
TOKENS_PER_MIN = 20_000_000


class Calls(RuleBasedStateMachine):
    """Three keys, one budget over them, one ceiling for each. A model costs 10 nano-USD a token in, 100 out."""

    under_way: Bundle[Answer] = Bundle("under_way")

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(
            keys=[KEY.model_copy(update={"key_id": key_id}) for key_id in KEYS],
            rules=Rules(limits=(Rate("policy p: tokens_per_min", "tokens", 60, TOKENS_PER_MIN),)),
            budgets=(BudgetConfig(name="month", usd=LIMIT_USD, hard_stop=True),),
            settings=GateConfig(reservation_s=90),
        )  # fmt: skip
        self.reserved: dict[str, int] = {}  # by reservation
        self.settled = 0
        self.tokens: dict[str, list[tuple[int, str, int]]] = {key_id: [] for key_id in KEYS}

    @rule(target=under_way, key_id=st.sampled_from(KEYS), cents=st.integers(1, 12), retry=st.booleans())
    def call(self, key_id: str, cents: int, retry: bool) -> Any:
        answer = self.gate.ask(key_id, tokens=0, output=cents * CENTS // 100)
        if answer.state == "allow":
            self.reserved[answer.reservation] = cents * CENTS
            self.tokens[key_id].append((self.gate.at_ms, answer.reservation, cents * CENTS // 100))
        elif answer.state == "throttle" and retry:
            assert answer.retry_after_s
            self.gate.at_ms += round(answer.retry_after_s * 1000)
        return answer

    @rule(answer=under_way, share=st.floats(0, 1))
    def ends(self, answer: Answer, share: float) -> None:
        """Also twice, and too late: both change nothing."""
        if not answer.reservation:
            return
        held = self.reserved.get(answer.reservation, 0)
        used = int(held // 100 * share)
        if self.gate.settle(answer, output=used).state == "settled":
            self.settled += used * 100
            del self.reserved[answer.reservation]
            mine = self.tokens[answer.key_id]
            at = next(at for at, (_, name, _) in enumerate(mine) if name == answer.reservation)
            mine[at] = (mine[at][0], answer.reservation, used)

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.gate.at_ms += seconds * 1000
        before = set(self.gate.decider.reservations.names())
        self.gate.decider.expire(NOW_MS + self.gate.at_ms, self.gate.at_ms)
        for name in before - set(self.gate.decider.reservations.names()):
            self.settled += self.reserved.pop(name)

    @rule(answer=consumes(under_way))
    def the_client_dies(self, answer: Answer) -> None:
        """Nobody settles it."""

    @invariant()
    def the_budget_holds(self) -> None:
        assert self.settled + sum(self.reserved.values()) <= LIMIT_USD * 100 * CENTS

    @invariant()
    def every_minute_of_every_key_holds(self) -> None:
        for calls in self.tokens.values():
            for start_ms, _, _ in calls[-8:]:
                within = (used for at_ms, _, used in calls if start_ms <= at_ms < start_ms + 60_000)
                assert sum(within) <= TOKENS_PER_MIN


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
