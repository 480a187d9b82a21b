"""Mistakes in budgets.yaml, each told with its line before money finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config_folder import load_folder
from tests.service.test_config_folder import folder, mistakes

PEOPLE = "people:\n  ann: {role: responder}\n"
ROUTES = "channels:\n  finance: {kind: webhook, target: 'https://hooks.example.com'}\n"


def written(*budgets: str) -> str:
    return "budgets:\n" + "".join(f"- {{{each}}}\n" for each in budgets)


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    path = folder(tmp_path, people=PEOPLE, routes=ROUTES, budgets=written(
        "name: a, usd: 5, owner: ann, escalate_to: [finance]",
        "name: b, tokens: 5, degrade: {models: {m: n}, apps: ['*'], approved_by: bob}",
    ))  # fmt: skip
    assert [budget.name for budget in load_folder(path).budgets.budgets] == ["a", "b"]


@pytest.mark.parametrize(
    ("budgets", "told"),
    [
        (["name: a"], "budgets.yaml:2 budgets[0]: no limit -> `usd`, `tokens` or both"),
        (["name: a, usd: 1", "name: a, usd: 2"], 'budgets[1].name: "a" -> a name that no other budget has'),
        (["name: a, usd: 1, owner: anne"], 'budgets[0].owner: "anne" -> did you mean "ann"?'),
        (["name: a, usd: 1, escalate_to: [financ]"], 'budgets[0].escalate_to[0]: "financ" -> did you mean "finance"?'),
        (
            ["name: a, usd: 1, degrade: {at_percent: 60}"],
            "budgets[0].degrade.back_percent: 70 -> less than at_percent, which is 60: else it flickers",
        ),
        (
            ["name: a, usd: 1, degrade: {models: {m: n}}"],
            "budgets[0].degrade.approved_by: nobody -> who approved these models: it stands in reports",
        ),
        (
            ["name: a, usd: 1, degrade: {models: {m: m}, approved_by: bob}"],
            'budgets[0].degrade.models.m: "m" -> another model, a cheaper one',
        ),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, budgets: list[str], told: str) -> None:
    path = folder(tmp_path, people=PEOPLE, routes=ROUTES, budgets=written(*budgets))
    assert any(told in line for line in mistakes(path)), mistakes(path)
