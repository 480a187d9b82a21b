"""Calls of models without a price, or that do not say their model: what nobody can reckon must not pass a limit in USD.

Pure. By environment, as `gate.unpriced` says: refused where a limit in USD holds, or taken to cost so much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from gate.ports import Ceiling, Rates
from schemas.call import ALLOW, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.config.wiring import GateConfig

Dearest = Callable[[str], Rates]
"""By provider, one that nobody knows too: the most that a token of input and one of output is known to cost."""
_NANO_PER_TOKEN: Final = 1000  # a USD for a million tokens


def counted_at(settings: GateConfig, env: str, dearest: Rates) -> Rates:
    """Nano-USD of one input and of one output token.

    >>> counted_at(GateConfig(unpriced={"dev": 2}), "dev", (1.0, 9.0))
    (2000.0, 2000.0)
    >>> counted_at(GateConfig(unpriced={"dev": 2}), "prod", (1.0, 9.0))
    (1.0, 9.0)
    """
    says = settings.unpriced_in(env)
    return dearest if isinstance(says, str) else (says * _NANO_PER_TOKEN, says * _NANO_PER_TOKEN)


def usd_limit(budgets: Iterable[BudgetConfig], quota: Ceiling | None) -> str:
    """What limits the key in USD for good: a budget that stops, or its own quota of a day; empty where nothing does."""
    stops = (f"budget {budget.name}" for budget in budgets if budget.hard_stop and budget.usd is not None)
    return next(stops, "" if quota is None else quota.rule)


def refusal(model: str, settings: GateConfig, env: str, limit: str) -> Ruling:
    """Of a call under a limit in USD, by what cannot be reckoned."""
    if not limit or settings.unpriced_in(env) != "refuse":
        return ALLOW
    what = f"{model} has no known price" if model else "the call does not say its model"
    words = f"{what}, and {limit} limits USD: use a model with a price, or have gate.unpriced say what it counts as"
    return Ruling("deny", f"gate.unpriced: {env}", words)


def in_words(settings: GateConfig, env: str, limit: str) -> str:
    """For a person who asks what holds for a key; empty where nothing limits USD.

    >>> in_words(GateConfig(), "prod", "budget search")
    'refused, because budget search limits USD (gate.unpriced: prod)'
    """
    if not limit:
        return ""
    match settings.unpriced_in(env):
        case "refuse":
            told = f"refused, because {limit} limits USD"
        case "dearest":
            told = f"counted in {limit} at the dearest price of its provider"
        case usd:
            told = f"counted in {limit} at {usd:g} USD for a million tokens"
    return f"{told} (gate.unpriced: {env})"
