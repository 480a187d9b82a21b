"""What exceptions change besides the rules they lift: what detectors expect, and what budgets may spend. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from glob import escape
from typing import Final

from controls.budgets import Quota
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.config.detectors import AnnouncedConfig
from schemas.exception import OF_BUDGETS, PolicyException, RuleKind
from schemas.records import EXPECTED_FAMILIES, Family

_OTHER_MODELS: Final[tuple[Family, ...]] = ("mix", "economics")
_ELSEWHERE: Final[tuple[Family, ...]] = ("origin",)
_SHOWS_IN: Final[Mapping[RuleKind, tuple[Family, ...]]] = {
    "models": _OTHER_MODELS, "endpoints": _OTHER_MODELS, "networks": _ELSEWHERE, "countries": _ELSEWHERE,
    "origins": _ELSEWHERE, "hours": ("rhythm",), "max_input_tokens": ("velocity", "economics"),
    "max_output_tokens": ("velocity", "economics"),
}  # fmt: skip
"""By what was lifted: the families that see it. More use than usual shows where a launch shows."""


def expected_of(exceptions: Iterable[PolicyException]) -> tuple[AnnouncedConfig, ...]:
    """Announced times, one for each exception that was approved and is for some keys."""
    return tuple(
        _announced(one)
        for one in exceptions
        if one.state == "active" and (one.keys or one.teams or one.apps or one.envs)
    )


def _announced(one: PolicyException) -> AnnouncedConfig:
    named = {
        "what": f"exception {one.exception_id}", "owner": one.owner, "reason": one.reason, "times": one.times,
        "keys": tuple(escape(key_id) for key_id in one.keys), "teams": one.teams, "apps": one.apps, "envs": one.envs,
        "from": datetime.fromtimestamp(one.from_ms / 1000, UTC),
        "until": datetime.fromtimestamp(one.until_ms / 1000, UTC),
        "families": _SHOWS_IN.get(one.rule, EXPECTED_FAMILIES),
    }  # fmt: skip
    return AnnouncedConfig.model_validate(named)


def raised_budgets(config: BudgetsConfig, exceptions: Iterable[PolicyException], at_ms: int) -> BudgetsConfig:
    """`budgets.yaml` with the amounts that exceptions set now."""
    holding = [one for one in exceptions if one.rule in OF_BUDGETS and one.holds(at_ms)]
    if not holding:
        return config
    return config.model_copy(update={"budgets": tuple(raised(budget, holding, at_ms) for budget in config.budgets)})


def raised(budget: BudgetConfig, exceptions: Iterable[PolicyException], at_ms: int) -> BudgetConfig:
    """The budget with the amounts that exceptions set now: the greatest of several, never less than is written.

    An exception sets no limit where none is written: a budget in tokens stays one in tokens.
    """
    mine = [one for one in exceptions if _sets(one, budget) and one.holds(at_ms)]
    tokens = [one.limit or 0.0 for one in mine if one.rule == "budget_tokens"]
    usd = [one.limit or 0.0 for one in mine if one.rule != "budget_tokens"]
    more: dict[str, float | int] = {}
    if budget.usd is not None and max(usd, default=0.0) > budget.usd:
        more["usd"] = max(usd)
    if budget.tokens is not None and max(tokens, default=0.0) > budget.tokens:
        more["tokens"] = int(max(tokens))
    return budget.model_copy(update=more) if more else budget


def _sets(one: PolicyException, budget: BudgetConfig) -> bool:
    """Whether it is about the budget's amount; one of a key's quota is, where it names nothing but keys."""
    if one.rule == "usd_per_day":
        only_keys = not (one.of or one.teams or one.apps or one.envs)
        return only_keys and isinstance(budget, Quota) and not {*budget.keys, *budget.formerly}.isdisjoint(one.keys)
    return one.rule in OF_BUDGETS and one.of == budget.name


def turned(exceptions: Iterable[PolicyException], since_ms: int, now_ms: int) -> bool:
    """Whether an exception of a budget has begun or ended after the one moment, up to the other."""
    moments = (moment for one in exceptions if one.rule in OF_BUDGETS for moment in (one.from_ms, one.until_ms))
    return any(since_ms < moment <= now_ms for moment in moments)
