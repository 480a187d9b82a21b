"""Unit economics: every figure is of one view, and the view is the sum of the events, each counted once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.config.keys import KeyConfig
from storage.archiving import resume, write
from storage.costs import CostSum, Dimension, Scope, hours, movers, rollup_nano_usd, sums
from storage.owners import write_owners
from storage.rows import time_of
from storage.store import Store
from tests.storage.conftest import NewStore
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, archive_uses, frame

ALWAYS = Scope(0, 1 << 53)
DAY_MS = 24 * HOUR_MS
STEP_MS = 5 * MINUTE_MS


def entry(key_id: str = "fp1:a", *, team: str = "growth", app: str = "unknown", owner: str = "ada") -> KeyConfig:
    return KeyConfig(key_id=key_id, provider="openai", team=team, app=app, env="production", owner=owner)


def owned(store: Store, *entries: KeyConfig, now_ms: int = T0) -> int:
    return write_owners(store, {one.key_id: one.record() for one in entries}, now_ms=now_ms)


def spent(store: Store, *by: Dimension, scope: Scope = ALWAYS) -> dict[tuple[str, ...], int]:
    return {row.group: row.cost_nano_usd for row in sums(store, scope, by)}


@pytest.fixture(scope="module")
def shared(new_store: NewStore) -> Store:
    """One engine for all histories; each has events and keys of its own."""
    return new_store()


USES = st.builds(
    Use,
    event_id=st.sampled_from("abc"),
    raw_offset=st.just(0),
    ts_ms=st.integers(0, 12).map(lambda step: T0 + step * 4 * MINUTE_MS),
    key_id=st.sampled_from(["one", "two"]),
    cost_nano_usd=st.integers(0, 10**12),
    app=st.sampled_from([None, "web", "web/search"]),
    user_id=st.sampled_from([None, "u1", "u2"]),
)
NEXT = iter(range(1_000_000))


def by_last_word(told: list[Use]) -> list[Use]:
    """What the view promises, said once more: of the same step the last word, and of words close by the last."""

    def step(use: Use) -> int:
        return use.ts_ms // STEP_MS

    kept = {(use.key_id, use.event_id, step(use)): (at, use) for at, use in enumerate(told)}
    return [
        use
        for (key_id, event_id, own), (at, use) in kept.items()
        if not any(
            key_id == other[0] and event_id == other[1] and abs(other[2] - own) <= 3 and later > at
            for other, (later, _) in kept.items()
        )
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(USES, min_size=1, max_size=6), min_size=1, max_size=3))
def test_the_view_is_the_sum_of_the_events_by_their_last_word(shared: Store, batches: list[list[Use]]) -> None:
    """Retries in one frame, in later ones, minutes off and late; to the nano-dollar, in all and in each group."""
    mark = f"{next(NEXT)}:"
    offsets = iter(range(1000))
    told = [
        [
            replace(use, key_id=mark + use.key_id, raw_offset=next(offsets), raw_partition=int(mark[:-1]))
            for use in batch
        ]
        for batch in batches
    ]
    archive = resume(shared, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    for offset, batch in enumerate(told):
        archive.add(offset, frame(batch), now_s=0)
        archive.intent()
        write(shared, archive)
        archive.done()
    kept = by_last_word([use for batch in told for use in batch])
    rows = [row for row in sums(shared, ALWAYS, ("key", "app", "feature", "user")) if row.group[0].startswith(mark)]
    expected: dict[tuple[str, ...], int] = {}
    for use in kept:
        app, _, feature = (use.app or "unknown").partition("/")
        group = (use.key_id, app, feature, use.user_id or "")
        expected[group] = expected.get(group, 0) + use.cost_nano_usd
    assert {row.group: row.cost_nano_usd for row in rows} == expected
    assert sum(row.events for row in rows) == len(kept)


def test_where_nobody_changed_his_mind_the_screens_say_the_same(store: Store) -> None:
    again = Use("a", 2, ts_ms=T0 + 6 * MINUTE_MS)
    late = Use("c", 3, ts_ms=T0 - 3 * DAY_MS, cost_nano_usd=17)
    archive_uses(store, [Use("a", 0), Use("b", 1, cost_nano_usd=5)], [again], [late])
    [total] = sums(store, ALWAYS, ())
    assert total.cost_nano_usd == 1_000_000 + 5 + 17 == rollup_nano_usd(store, 0, T0 + HOUR_MS)
    assert (total.events, total.requests) == (3, 3)


def test_nothing_used_is_a_row_of_zeros(store: Store) -> None:
    assert sums(store, ALWAYS, ()) == [CostSum((), *[0] * 12)]
    assert sums(store, ALWAYS, ("team",)) == []


def test_a_user_is_counted_once_and_events_without_one_cost_no_user_anything(store: Store) -> None:
    uses = [Use("a", 0, user_id="u1", cost_nano_usd=2), Use("b", 1, user_id="u1", cost_nano_usd=4), Use("c", 2)]
    archive_uses(store, uses)
    [total] = sums(store, ALWAYS, ())
    assert (total.users, total.user_nano_usd) == (1, 6)


def test_whose_it_is_goes_by_who_had_the_key_at_that_time(store: Store) -> None:
    archive_uses(store, [Use("a", 0, cost_nano_usd=1), Use("b", 1, ts_ms=T0 + HOUR_MS, cost_nano_usd=2)])
    assert spent(store, "team") == {("search",): 3}, "as the event says, until somebody registers the key"
    assert owned(store, entry(team="growth")) == 1
    assert owned(store, entry(team="growth")) == 0, "nothing new"
    assert spent(store, "team", "owner") == {("growth", "ada"): 3}, "for the time before as well"
    owned(store, entry(team="support", owner="bob"), now_ms=T0 + HOUR_MS)
    assert spent(store, "team", "owner") == {("growth", "ada"): 1, ("support", "bob"): 2}, "a closed month stays"


def test_what_the_registry_leaves_open_the_event_says(store: Store) -> None:
    archive_uses(store, [Use("a", 0, app="web/search")])
    owned(store, entry(team="unknown"))
    assert spent(store, "team", "app", "feature") == {("search", "web", "search"): 1_000_000}
    owned(store, entry(app="shop/basket"), now_ms=T0)
    assert spent(store, "app", "feature") == {("shop", "search"): 1_000_000}, "the feature is the event's to say"


def test_days_that_the_retention_dropped_come_from_the_hours(store: Store) -> None:
    archive_uses(store, [Use("a", 0, ts_ms=T0 - 40 * DAY_MS, cost_nano_usd=11, app="web/search"), Use("b", 1)])
    store.connection.command("ALTER TABLE usage_events DROP PARTITION '20261014'")
    assert spent(store, "app", "feature") == {("web", "search"): 11, ("unknown", ""): 1_000_000}


def test_only_what_is_asked_for(store: Store) -> None:
    archive_uses(store, [Use("a", 0, team="search"), Use("b", 1, team="growth"), Use("c", 2, ts_ms=T0 + HOUR_MS)])
    assert spent(store, "team", scope=Scope(T0, T0 + HOUR_MS, team="search")) == {("search",): 1_000_000}
    assert hours(store, Scope(T0, T0 + 2 * HOUR_MS)) == [(T0, 2_000_000), (T0 + HOUR_MS, 1_000_000)]


def test_movers_are_told_by_how_much_they_moved(store: Store) -> None:
    week = 7 * DAY_MS
    uses = [("same", 0, 5), ("same", -week, 5), ("up", 0, 100), ("up", -week, 10), ("gone", -week, 50), ("new", 0, 7)]
    archive_uses(
        store, [Use(f"e{n}", n, team=t, ts_ms=T0 + at, cost_nano_usd=usd) for n, (t, at, usd) in enumerate(uses)]
    )
    found = movers(store, Scope(T0 - week + 1, T0 + 1), ("team",), limit=3)
    assert [tuple(move) for move in found] == [(("up",), 10, 100), (("gone",), 50, 0), (("new",), 0, 7)]


def test_a_dimension_that_does_not_exist_is_named(store: Store) -> None:
    with pytest.raises(ValueError, match="moon: expected some of team, app"):
        sums(store, ALWAYS, ("moon",))  # type: ignore[arg-type]


def test_the_view_gives_plain_rows_to_whoever_asks_in_sql(store: Store) -> None:
    archive_uses(store, [Use("a", 0, app="web/search", user_id="u1")])
    columns = "ts, key_id, team, app, feature, env, user_id, requests, cost_nano_usd"
    assert store.connection.rows(f"SELECT {columns} FROM costs") == [
        (time_of(T0).replace(tzinfo=None), "fp1:a", "search", "web", "search", "production", "u1", 1, 1_000_000)
    ]
