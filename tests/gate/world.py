"""A gate in memory for tests: keys, policies, budgets as given, three models with made-up prices, clocks by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from controls.registry import Registry
from gate.budgets import AloneSlices
from gate.decide import Answer, Decider, Planes, Settled, Used
from gate.known import Known
from gate.ports import Ceiling, Rates, Reached
from gate.reservations import Reservations
from schemas.call import ALLOW, Call, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.config.wiring import GateConfig
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.spend import BudgetLevel, BudgetStatus
from schemas.verdict import GateState, GateVerdict

NOW_MS = 1_795_428_000_000
USD = 1_000_000_000
KEY = KeyConfig(key_id="k1", provider="openai", team="search", app="shop", env="prod", owner="ana")


@dataclass
class Rules:
    """A policy plane that says what it is told to."""

    denied_models: frozenset[str] = frozenset()
    limits: tuple[Ceiling, ...] = ()

    def judge(self, call: Call, facts: KeyFacts, entry: KeyRecord | None) -> Ruling:
        if call.requests and call.model in self.denied_models:
            return Ruling("deny", "policy small: allowed_models", f"{call.model} is not allowed")
        return ALLOW

    def ceilings(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> tuple[Ceiling, ...]:
        return self.limits


@dataclass
class Purse:
    """A budget plane in which every key is under every budget."""

    budgets: Sequence[BudgetConfig] = ()

    def covering(self, key_id: str, facts: KeyFacts) -> Sequence[BudgetConfig]:
        return self.budgets


def per_token(provider: str, model: str, at_ms: int) -> Rates | None:
    """A dear and a cheap model; another one has no price."""
    return {"dear": (10.0, 100.0), "cheap": (1.0, 10.0)}.get(model)


DEAREST: Final[Rates] = (20.0, 200.0)


@dataclass
class Gate:
    """`ask` and `settle` at a moment that `at_ms` moves."""

    keys: Sequence[KeyConfig] = (KEY,)
    rules: Rules = field(default_factory=Rules)
    budgets: Sequence[BudgetConfig] = ()
    settings: GateConfig = GateConfig()  # noqa: RUF009 - frozen
    at_ms: int = 0

    def __post_init__(self) -> None:
        self.known = Known(Registry(KeysConfig(keys=tuple(self.keys))))
        self.decider = Decider(
            self.known, Planes(self.rules, Purse(self.budgets), self.settings), slices=AloneSlices(self.known.status),
            reach=Reached(), prices=per_token, dearest=lambda provider: DEAREST,
            reservations=Reservations("r", hold_ms=self.settings.reservation_s * 1000),
        )  # fmt: skip

    def ask(
        self, key_id: str = "k1", *, model: str = "dear", tokens: int = 100, output: int | None = 0, requests: int = 1
    ) -> Answer:
        call = Call(key_id, NOW_MS + self.at_ms, model, "", tokens, output, requests)
        return self.decider.authorize(call, self.at_ms)

    def settle(self, answer: Answer, *, tokens: int = 0, output: int = 0, cost: int | None = None) -> Settled:
        return self.decider.settle(answer.reservation, Used(tokens, output, cost), NOW_MS + self.at_ms)

    def verdict(self, state: GateState, *, key_id: str = "k1", use_instead: str = "") -> None:
        words = "" if state == "allow" else "stopped by Keyfuse, incident inc_1: ask team search"
        self.known.judged(
            GateVerdict(
                key_id=key_id, state=state, reason=words, incident_id="inc_1", at_ms=NOW_MS, use_instead=use_instead
            )
        )


def status(
    budget: str, *, spent: float = 0, limit: float | None = None, degrade: dict[str, str] | None = None,
    level: BudgetLevel = "ok",
) -> BudgetStatus:  # fmt: skip
    """In USD."""
    return BudgetStatus(
        budget=budget, scope="everything", at_ms=NOW_MS, period="2026-11", period_from_ms=NOW_MS - 1000,
        period_until_ms=NOW_MS + 3_600_000, level=level, spent_nano_usd=round(spent * USD), spent_tokens=0,
        limit_nano_usd=None if limit is None else round(limit * USD), limit_tokens=None, degrade=degrade or {},
        reason=f"budget {budget} is at 85 % of its month",
    )  # fmt: skip
