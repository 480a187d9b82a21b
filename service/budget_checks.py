"""What can be wrong with budgets, each mistake with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from schemas.config.budgets import BudgetConfig
from service.config_errors import ConfigError, Loc, did_you_mean, shown
from service.config_tree import Folder
from service.field_checks import Errors, Sources
from service.yaml_source import Source


def check_budgets(folder: Folder, sources: Sources) -> Errors:
    """Each of itself, and that names are there once."""
    source, budgets = sources["budgets"], folder.budgets.budgets
    times = Counter(budget.name for budget in budgets)
    for number, budget in enumerate(budgets):
        loc: Loc = ("budgets", number)
        if times[budget.name] > 1:
            yield source.error((*loc, "name"), shown(budget.name), "a name that no other budget has")
        yield from _limits(source, loc, budget)


def check_budget_people(folder: Folder, sources: Sources) -> Errors:
    """Owners are people, once people are written down."""
    people = folder.people.people
    for number, budget in enumerate(folder.budgets.budgets):
        if budget.owner and people and budget.owner not in people:
            loc: Loc = ("budgets", number, "owner")
            yield sources["budgets"].error(loc, shown(budget.owner), did_you_mean(budget.owner, people))


def check_budget_channels(folder: Folder, sources: Sources) -> Errors:
    """Who is told besides must be there."""
    channels = folder.routes.channels
    for number, budget in enumerate(folder.budgets.budgets):
        for index, channel in enumerate(budget.escalate_to):
            if channel not in channels:
                loc: Loc = ("budgets", number, "escalate_to", index)
                yield sources["budgets"].error(loc, shown(channel), did_you_mean(channel, channels))


def _limits(source: Source, loc: Loc, budget: BudgetConfig) -> Iterator[ConfigError]:
    if budget.usd is None and budget.tokens is None:
        yield source.error(loc, "no limit", "`usd`, `tokens` or both")
    degrade = budget.degrade
    if degrade is None:
        return
    if degrade.back_percent >= degrade.at_percent:
        expected = f"less than at_percent, which is {degrade.at_percent:g}: else it flickers"
        yield source.error((*loc, "degrade", "back_percent"), shown(degrade.back_percent), expected)
    if degrade.models and not degrade.approved_by:
        yield source.error(
            (*loc, "degrade", "approved_by"), "nobody", "who approved these models: it stands in reports"
        )
    for model, cheaper in degrade.models.items():
        if model == cheaper:
            yield source.error((*loc, "degrade", "models", model), shown(cheaper), "another model, a cheaper one")
