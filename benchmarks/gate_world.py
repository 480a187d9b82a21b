"""What the gate is measured with: 100,000 keys, every kind of rule, budgets over all of them, and whom it knows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import orjson

from controls.budgets import Budgets
from controls.policies import Policies
from controls.registry import Registry
from gate.decide import Decider, Planes
from gate.known import Known
from gate.lease import Borrower
from gate.leased import LeasedSlices
from gate.ports import Reached
from gate.reservations import Reservations
from schemas.config.budgets import BudgetConfig, BudgetsConfig, DegradeConfig
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.config.policies import HoursConfig, PoliciesConfig, PolicyConfig
from schemas.config.wiring import GateConfig
from schemas.verdict import GateVerdict
from sources.price_list import dearest_of
from sources.pricing import PriceBook

TEAMS: Final = 50
DENIED_EVERY: Final = 100  # one key of so many has a verdict against it
MODELS: Final = ("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini")


def key_of(number: int) -> str:
    return f"fp1:{number:032x}"


def keys(count: int) -> KeysConfig:
    return KeysConfig(keys=tuple(
        KeyConfig(
            key_id=key_of(number), provider="openai", team=f"team-{number % TEAMS}", app=f"app-{number % 500}",
            env=("prod", "staging", "dev")[number % 3], owner=f"person-{number % 200}", networks=("10.0.0.0/8",),
        )
        for number in range(count)
    ))  # fmt: skip


def policies() -> PoliciesConfig:
    """Each key is under four, and every kind of rule is in one of them."""
    models = PolicyConfig(
        name="models", allowed_models=("@openai",), denied_models=("gpt-4.5*",), allowed_endpoints=("/v1/chat/*",),
        max_input_tokens=100_000, max_output_tokens=16_000,
    )  # fmt: skip
    places = PolicyConfig(name="places", networks=("10.0.0.0/8", "192.168.0.0/16"), countries=("DE", "FR"))
    rates = PolicyConfig(
        name="rates", requests_per_s=500, requests_per_min=10_000, requests_per_day=1_000_000, tokens_per_s=1_000_000,
        tokens_per_min=20_000_000, tokens_per_day=2_000_000_000,
    )  # fmt: skip
    teams = tuple(
        PolicyConfig(name=f"hours of team-{n}", teams=(f"team-{n}",), hours=HoursConfig(days=())) for n in range(TEAMS)
    )
    return PoliciesConfig(families={"openai": ("gpt-4*", "o3*")}, policies=(models, places, rates, *teams))


def budgets() -> BudgetsConfig:
    """Four over each key, three of them with a hard stop."""
    cheaper = DegradeConfig(models={"gpt-4.1": "gpt-4.1-mini"}, apps=("app-*",))
    teams = tuple(
        BudgetConfig(name=f"team-{n}", teams=(f"team-{n}",), usd=1e6, hard_stop=True, degrade=cheaper)
        for n in range(TEAMS)
    )
    envs = tuple(BudgetConfig(name=env, envs=(env,), usd=1e6, hard_stop=True) for env in ("prod", "staging", "dev"))
    everything = BudgetConfig(name="everything", usd=1e7, tokens=10**15, hard_stop=True)
    told = BudgetConfig(name="told only", apps=("app-*",), period="day", usd=1e6)
    return BudgetsConfig(budgets=(everything, told, *envs, *teams))


def decider(count: int, borrower: Borrower, *, at_ms: int, tick_ms: Callable[[], float]) -> Decider:
    settings = GateConfig()
    known = Known(Registry(keys(count)))
    for number in range(0, count, DENIED_EVERY):
        known.judged(
            GateVerdict(
                key_id=key_of(number), state="deny", reason="stopped by Keyfuse", incident_id="inc_1", at_ms=at_ms
            )
        )
    slices, written = LeasedSlices(borrower, known.status, tick_ms=tick_ms), budgets()
    slices.watch(written.budgets)
    return Decider(
        known, Planes(Policies(policies()), Budgets(written), settings), slices=slices,
        reach=Reached(), prices=PriceBook().per_token, dearest=dearest_of,
        reservations=Reservations("bench-", hold_ms=settings.reservation_s * 1000),
    )  # fmt: skip


def calls(count: int, number: int, seed: int) -> list[bytes]:
    """Bodies of `/v1/authorize`: all keys alike, as a gateway would send them."""
    rng = random.Random(seed)
    return [orjson.dumps(_call(key_of(rng.randrange(count)), rng)) for _ in range(number)]


def _call(key_id: str, rng: random.Random) -> dict[str, Any]:
    return {
        "key_id": key_id, "model": rng.choice(MODELS), "endpoint": "/v1/chat/completions",
        "input_tokens": rng.randrange(50, 8000), "max_output_tokens": rng.randrange(50, 2000),
        "ip": f"10.0.{rng.randrange(8)}.{rng.randrange(250)}", "country": "DE",
        "user_agent": "openai-python/3.1.0", "user_id": f"user-{rng.randrange(10_000)}",
    }  # fmt: skip
