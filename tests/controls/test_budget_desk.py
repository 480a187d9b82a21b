"""The desk sums over partitions, hears everything any number of times, and says where each budget stands."""

from __future__ import annotations

import json
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controls.budget_desk import BudgetDesk
from controls.budget_levels import NANO
from controls.budgets import Budgets
from controls.ledger import MOST_GROUPS, OTHERS, Group, Ledger, Spent
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.config.keys import KeyConfig
from schemas.exception import PolicyException
from schemas.records import KeyFacts
from schemas.spend import SLOT_S, BudgetStatus, SpendSum, SpendSums
from tests.streams.world import T0

SLOT = T0 // 1000 // SLOT_S
HOUR = 3600 // SLOT_S
FACTS = {"k1": KeyFacts(provider="openai", team="search", app="web", env="prod")}


def desk(*budgets: dict[str, Any]) -> BudgetDesk:
    config = BudgetsConfig(budgets=tuple(BudgetConfig.model_validate({"usd": 100} | each) for each in budgets))
    return BudgetDesk(Budgets(config), FACTS.get)


def sums(*each: tuple[Any, ...], partition: int = 0) -> SpendSums:
    """(part, slot, key, requests, USD) of a key that nobody registered: team and app as its events say."""
    return SpendSums(partition=partition, sums=tuple(
        SpendSum(SLOT + part, SLOT + slot, key, f"team-{key}", "a", "prod", n, n * 10, round(usd * NANO), T0)
        for part, slot, key, n, usd in each
    ))  # fmt: skip


def spent(one: BudgetDesk, at_ms: int = T0) -> dict[str, float]:
    return {status.budget: status.spent_nano_usd / NANO for status in one.stand(at_ms).statuses}


@settings(deadline=None, max_examples=60)
@given(
    said=st.lists(
        st.tuples(st.integers(0, 2), st.integers(-30, 3), st.integers(0, 3), st.integers(1, 50)), max_size=40
    ),
    again=st.lists(st.integers(0, 39), max_size=20),
    cut=st.integers(0, 40),
)
def test_what_is_told_twice_or_late_counts_once_through_a_restart(
    said: list[tuple[int, int, int, int]], again: list[int], cut: int
) -> None:
    """Three partitions, whose parts go on; any record comes again; in between the desk is restored from its state."""
    totals: dict[tuple[int, int, int, int], int] = {}
    records, parts = [], [0, 0, 0]
    for number, (partition, slot, key, more) in enumerate(said):
        parts[partition] += number % 3 == 2  # the partition's clock is in the next five minutes
        name = (partition, parts[partition], slot, key)
        totals[name] = totals.get(name, 0) + more
        records.append(sums((parts[partition], slot, f"k{key}", totals[name], totals[name]), partition=partition))
    one = desk({"name": "all", "usd": 10**6}, {"name": "k2", "teams": ["team-k2"]})
    for at, record in enumerate(records):
        one.hear(record)
        for earlier in again:
            if earlier <= at and earlier % 7 == at % 7:
                one.hear(records[earlier])
        if at == cut:
            head, stored = one.export()
            one = desk({"name": "all", "usd": 10**6}, {"name": "k2", "teams": ["team-k2"]})
            one.restore(json.loads(json.dumps(head)), stored.__getitem__)
    assert spent(one) == {
        "all": sum(totals.values()), "k2": sum(total for (_, _, _, key), total in totals.items() if key == 2),
    }  # fmt: skip


def test_what_is_registered_of_a_key_is_stronger_than_what_its_events_say() -> None:
    one = desk({"name": "registered", "teams": ["search"]}, {"name": "said", "teams": ["team-k1"]})
    one.hear(sums((0, 0, "k1", 1, 5.0), (0, 0, "k2", 1, 7.0)))
    assert spent(one) == {"registered": 5.0, "said": 0.0}


def test_a_budget_of_a_key_counts_that_key_alone() -> None:
    one = desk({"name": "one key", "keys": ["k1"]}, {"name": "team", "teams": ["search"]}, {"name": "all"})
    one.hear(sums((0, 0, "k1", 1, 5.0), (0, 0, "k2", 1, 7.0)))
    assert spent(one) == {"one key": 5.0, "team": 5.0, "all": 12.0}


@settings(deadline=None, max_examples=150)
@given(
    story=st.lists(
        st.one_of(
            st.tuples(st.just("spend"), st.integers(0, 4), st.integers(1, 50)),
            st.tuples(st.sampled_from(["rotate", "restart"]), st.just(0), st.just(0)),
        ),
        max_size=30,
    )
)
def test_a_budget_of_a_key_counts_what_its_successors_spend_through_restarts(story: list[tuple[str, int, int]]) -> None:
    """A line of keys k0 → k1 → ..., any of which may be in use beside its successor; k4 is nobody's successor yet.

    What a key spent before it took over is its own; a quota is of one key alone.
    """
    written = BudgetsConfig(budgets=(
        BudgetConfig(name="k0", keys=("k0",), usd=10**6), BudgetConfig(name="k2", keys=("k2",), usd=10**6),
        BudgetConfig(name="either", keys=("k0", "k2"), usd=10**6), BudgetConfig(name="all", usd=10**6),
    ))  # fmt: skip
    entries = {f"k{n}": KeyConfig(key_id=f"k{n}", provider="p", team="search").record() for n in range(5)}
    entries["k0"] = entries["k0"].model_copy(update={"quota_usd_per_day": 10.0**6})

    def facts_of(key_id: str) -> KeyFacts:
        return entries[key_id].facts()

    def new() -> BudgetDesk:
        return BudgetDesk(Budgets(written, entries.values()), facts_of)

    one, newest, stored = new(), 0, dict[str, bytes]()
    totals, expected = [0] * 5, dict.fromkeys(("k0", "k2", "either", "all", "quota of k0"), 0)
    for action, number, usd in story:
        if action == "spend":
            totals[number] += usd
            one.hear(sums((0, 0, f"k{number}", 1, totals[number]), partition=number))
            line = {f"k{number}", *entries[f"k{number}"].formerly}
            counts = {"k0": "k0" in line, "k2": "k2" in line, "either": bool(line & {"k0", "k2"}), "all": True}
            for name, holds in (counts | {"quota of k0": number == 0}).items():
                expected[name] += usd * holds
        elif action == "rotate" and newest < 3:
            line_of = (*entries[f"k{newest}"].formerly, f"k{newest}")
            newest += 1
            entries[f"k{newest}"] = entries[f"k{newest}"].model_copy(update={"formerly": line_of})
            one.reconfigure(Budgets(written, entries.values()), facts_of)
        else:
            head, changed = one.export()
            stored |= changed
            one = new()
            one.restore(json.loads(json.dumps(head)), stored.__getitem__)
    assert spent(one) == expected


def test_each_period_has_its_own_window() -> None:
    periods = ["hour", "day", "week", "month", "rolling_1h", "rolling_24h", "rolling_7d", "rolling_30d"]
    one = desk(*({"name": period, "period": period} for period in periods))
    ages_h = (0, 0.5, 5, 23, 47, 150, 400, 700, 1000)  # T0 is a Monday the 23rd, 10:00
    for at, age_h in enumerate(ages_h):
        one.hear(sums((at, -int(age_h * HOUR), "k", 1, 1.0)))
    assert spent(one, T0 + 1000) == {
        "hour": 1, "day": 3, "week": 3, "month": 7, "rolling_1h": 2, "rolling_24h": 4, "rolling_7d": 6,
        "rolling_30d": 8,
    }  # fmt: skip
    assert one.too_late == 1  # a thousand hours back: no budget speaks of that time


def test_a_budget_that_is_new_knows_what_was_spent_before() -> None:
    one = desk({"name": "a"})
    one.hear(sums((0, 0, "k2", 1, 7.0)))
    one.reconfigure(Budgets(BudgetsConfig(budgets=(BudgetConfig(name="b", teams=("team-k2",), usd=1),))), FACTS.get)
    assert spent(one) == {"b": 7.0}


def stand_of(one: BudgetDesk, at_ms: int) -> BudgetStatus:
    [status] = one.stand(at_ms).statuses
    return status


def test_a_finding_of_a_budget_says_where_it_stands() -> None:
    one = desk({"name": "search", "teams": ["search"], "envs": ["prod"], "period": "day", "usd": 10, "owner": "ann"})
    one.hear(sums(*((0, -hour * HOUR, "k1", 1, 1.0) for hour in range(10))))
    told = one.stand(T0 + 1000).findings
    assert {finding.detector for finding in told} == {"used_up"}
    [finding] = told
    assert (finding.key_id, finding.facts.provider, finding.facts.team, finding.certain) == (
        "budget:search", "", "search", False,
    )  # fmt: skip
    view = finding.budget
    assert view is not None
    assert (view.spent, view.limit, view.used_up, view.owner) == (10.0, 10.0, True, "ann")
    assert [round(value or 0, 2) for value in view.steps.values] == [0.0, *[1.0] * 10]
    assert one.stand(T0 + 1000).findings == ()


def test_a_theft_burns_a_monthly_budget_and_an_even_pace_does_not() -> None:
    even = desk({"name": "b", "usd": 720})
    even.hear(sums(*((0, -hour * HOUR, "k", 1, 0.98) for hour in range(24 * 22))))
    assert {finding.detector for finding in even.stand(T0).findings} == {"soft_50"}
    stolen = desk({"name": "b", "usd": 720})
    stolen.hear(sums(*((0, -slot, "k", 1, 2.0) for slot in range(13))))
    findings = stolen.stand(T0 + 290_000).findings
    assert [(each.detector, each.severity) for each in findings] == [("burn_1h", "critical")]
    assert stand_of(stolen, T0 + 290_000).projected_nano_usd is not None


def test_forged_labels_do_not_fill_the_memory() -> None:
    ledger = Ledger()
    for number in range(MOST_GROUPS + 50):
        ledger.add(Group(f"t{number}", "a", "e"), SLOT, Spent(1, 1, 1))
    assert len(ledger.groups) == MOST_GROUPS + 1
    assert ledger.hours([ledger.place(OTHERS)], SLOT * SLOT_S // 86_400).sum(axis=0).tolist() == [50, 50, 50]


def test_days_that_were_stored_before_keys_were_followed_are_read_as_they_were_meant() -> None:
    ledger, day = Ledger(), SLOT * SLOT_S // 86_400
    ledger.add(Group("t", "a", "e", "k1"), SLOT, Spent(1, 2, 3))
    head, _, body = zlib.decompress(ledger.export_day(day)).partition(b"\n")
    state = json.loads(head)
    state["groups"] = [group[:4] for group in state["groups"]]
    older = Ledger()
    older.import_day(zlib.compress(json.dumps(state).encode() + b"\n" + body))
    assert older.groups == [Group("t", "a", "e", "k1")]
    assert older.hours([0], day).sum(axis=0).tolist() == [1, 2, 3]


def test_old_days_are_let_go() -> None:
    ledger = Ledger()
    for day in range(100):
        ledger.add(OTHERS, SLOT + day * 288, Spent(1, 1, 1))
        ledger.forget()
    assert len(ledger.days()) == 36
    first = SLOT * SLOT_S // 86_400
    assert ledger.slots([0], first + 99).sum() == 3
    assert ledger.slots([0], first + 95).sum() == 0
    assert ledger.hours([0], first + 95).sum() == 3


def test_an_exception_sets_another_limit_for_its_time() -> None:
    one = desk({"name": "b", "usd": 10, "period": "month", "hard_stop": True, "projected": False, "burn_rate": False})
    one.hear(sums((0, 0, "k", 1, 12.0)))
    lifted = PolicyException(
        exception_id="exc_1", at_ms=T0, change="approved", state="active", rule="budget_usd", of="b", limit=30,
        from_ms=T0, until_ms=T0 + 3_600_000, reason="launch", owner="ann", by="ann", asked_at_ms=T0, approved_by="bob",
    )  # fmt: skip
    for at_ms, level, limit in ((T0 - 1, "stopped", 10), (T0, "ok", 30), (T0 + 3_600_000, "stopped", 10)):
        [status] = one.stand(at_ms, (lifted,)).statuses
        assert (status.level, status.limit_nano_usd) == (level, limit * NANO)
