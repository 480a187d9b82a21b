"""The alert rules for Prometheus name what Keyfuse serves, with labels and values that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.records import StepState
from streams.metrics import COUNTERS, GAUGES, HISTOGRAMS, Def, Metrics

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "prometheus" / "keyfuse.rules.yaml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
KNOWN: dict[str, Def] = {**COUNTERS, **GAUGES, **HISTOGRAMS}  # type: ignore[dict-item]  # names are literals there
OPEN_VALUES = {("keyfuse_commands_total", "state"): {state.value for state in StepState}}
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def series(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each metric of Keyfuse's with the values of labels it is asked for, from a rule's expression."""
    for name, matchers in re.findall(r"\b(keyfuse_\w+)(\{[^}]*\})?", text):
        yield name, dict(re.findall(r'(\w+)(?:=~|!=|=)"([^"]*)"', matchers))


@each_rule
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    for name, labels in series(rule["expr"]):
        assert name in KNOWN
        for label, value in labels.items():
            allowed = set(KNOWN[name].labels[label]) or OPEN_VALUES.get((name, label))
            assert allowed is None or value in allowed


@each_rule
def test_its_words_fill_in_labels_that_its_metric_has(rule: dict[str, Any]) -> None:
    said = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
    have = {label for name, _ in series(rule["expr"]) for label in KNOWN[name].labels} | {"instance"}
    assert set(said) <= have
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("page", "ticket")


@each_rule
def test_a_counter_that_begins_with_its_first_count_is_also_looked_for_as_new(rule: dict[str, Any]) -> None:
    """`increase` of a series that was not there before is nothing."""
    if rule["alert"] == "KeyfuseStageStuckAgain":
        return  # it is of what came again
    for name, _ in series(rule["expr"]):
        if name in COUNTERS and not all(KNOWN[name].labels.values()):
            assert re.search(rf"\({name}\S* unless {name}\S* offset", rule["expr"]), rule["alert"]


def test_the_other_counters_are_there_from_the_start() -> None:
    served = Metrics().render().decode()
    for name in ("keyfuse_dead_letters_total", "keyfuse_orders_doubted_total", "keyfuse_config_errors_total"):
        assert re.search(rf"^{name}\S* 0\.0$", served, re.MULTILINE)


def test_a_stuck_stage_is_among_them() -> None:
    assert any(name == "keyfuse_stage_stuck_total" for rule in RULES for name, _ in series(rule["expr"]))


def test_the_page_for_operators_names_the_file() -> None:
    assert str(FILE.relative_to(ROOT)) in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
