"""Each hard negative is what it says: so large, so long, from the owner's hosts, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, Ledger, Uses, merged
from benchmarks.containment.negative_case import next_night_ms, successor
from benchmarks.containment.negatives import NEGATIVES, Negative, with_successors
from benchmarks.containment.profiles import make_profile
from benchmarks.containment.thefts import Case
from benchmarks.containment.traffic import END_MS, TEST_MS, Rhythm, World, owners_rows
from detectors.grants import announced
from sources.simulator.arrivals import Gaps
from sources.simulator.fitted import WINDOW_S

START = TEST_MS + 5 * HOUR_MS + 7 * 60_000
STEADY, OFFICE, NEVER = 0, 1, 2
EVERY_MS = 30_000
RPS = 1000 / EVERY_MS


@cache
def world() -> World:
    """Three keys of one request each half minute: always, from 9 to 17 o'clock, and never."""
    ledger, rng = Ledger([]), np.random.default_rng(1)
    ts_ms = np.arange(START_MS, END_MS, EVERY_MS)
    hour = (ts_ms - START_MS) // HOUR_MS % 24
    profiles, parts, rhythms = [], [], []
    for key, open_ in enumerate((hour >= 0, (hour >= 9) & (hour < 17), hour < 0)):
        lengths = np.log(np.arange(1, 11) * 100.0)
        profile = make_profile(ledger, f"fp1:{key}", rng, log_input=lengths, log_output=lengths, requests_per_month=5e4)
        main = (profile.models[0]._replace(code=ledger.texts.code("gpt-5.1"), weight=1.0, from_ms=0),)
        owner = profile.owner._replace(provider="openai")
        ledger.owners[key] = owner
        profile = replace(profile, owner=owner, models=main, cached_share=0.7, error_rate=0.01)
        own_ms = ts_ms[open_]
        parts.append(owners_rows(profile, own_ms, rng).with_columns(key=key))
        active_ms = np.unique(own_ms // (WINDOW_S * 1000)) * WINDOW_S * 1000
        rhythms.append(Rhythm(active_ms, np.full(len(active_ms), RPS), Gaps("gamma", 1.0)))
        profiles.append(profile)
    plain = World(
        ledger=ledger, profiles=tuple(profiles), rhythms=tuple(rhythms), clean=ledger.priced(merged(parts)),
        source="a test", thinning=np.ones(3), seed=1,
    )  # fmt: skip
    return with_successors(plain)


def build(name: str, key: int = STEADY, *, start_ms: int = START, seed: int = 1) -> Negative | None:
    return NEGATIVES[name](Case(world(), (key,), start_ms, np.random.default_rng(seed)))


def made(name: str, key: int = STEADY, *, start_ms: int = START, seed: int = 1) -> Negative:
    negative = build(name, key, start_ms=start_ms, seed=seed)
    assert negative is not None
    return negative


def clean(negative: Negative, from_ms: int, until_ms: int) -> Uses:
    return world().of_key(negative.keys[0]).between(from_ms, until_ms)


def times(negative: Negative, from_ms: int, until_ms: int) -> float:
    """Requests in the negative over the owner's in the same time."""
    own = clean(negative, from_ms, until_ms)
    return float(negative.rows.between(from_ms, until_ms).requests.sum() / own.requests.sum())


@pytest.mark.parametrize("name", NEGATIVES)
@pytest.mark.parametrize("key", [STEADY, OFFICE])
def test_rows_are_the_keys_own_priced_in_order_and_in_the_stated_time(name: str, key: int) -> None:
    negative = made(name, key)
    rows = negative.rows
    assert START <= negative.start_ms < negative.until_ms <= END_MS
    assert negative.from_ms in (negative.start_ms, START_MS)
    assert negative.keys[0] in (key, successor(world(), key))
    assert set(rows.key.tolist()) <= set(negative.keys)
    assert (np.diff(rows.ts_ms) >= 0).all()
    assert negative.from_ms <= rows.ts_ms[0]
    assert rows.ts_ms[-1] < negative.until_ms
    assert rows.cost_nano_usd.tolist() == world().ledger.priced(rows).cost_nano_usd.tolist()
    assert rows.cost_nano_usd.sum() > 0


@pytest.mark.parametrize("name", NEGATIVES)
def test_every_request_comes_from_the_owners_hosts(name: str) -> None:
    profile, rows = world().profiles[OFFICE], made(name, OFFICE).rows
    assert set(rows.ip.tolist()) <= set(profile.country_of)
    assert [profile.country_of[ip] for ip in rows.ip.tolist()] == rows.country.tolist()
    if name != "release_day":
        assert set(rows.agent.tolist()) <= {agent.code for agent in profile.agents}


@pytest.mark.parametrize("name", NEGATIVES)
def test_a_seed_decides_everything(name: str) -> None:
    one, again = made(name, OFFICE, seed=7), made(name, OFFICE, seed=7)
    assert one.announced == again.announced
    assert (one.start_ms, one.until_ms) == (again.start_ms, again.until_ms)
    assert all((a == b).all() for a, b in zip(one.rows, again.rows, strict=True))


@pytest.mark.parametrize("name", NEGATIVES)
def test_a_key_without_use_has_no_change(name: str) -> None:
    assert build(name, NEVER) is None


@pytest.mark.parametrize("name", sorted(set(NEGATIVES) - {"retry_storm", "cache_flush"}))
def test_what_does_not_fit_before_the_end_is_not_begun(name: str) -> None:
    assert build(name, start_ms=END_MS - HOUR_MS // 2) is None


@pytest.mark.parametrize("name", NEGATIVES)
def test_each_says_what_it_is_and_why_it_is_hard(name: str) -> None:
    assert "Hard because" in (NEGATIVES[name].__doc__ or "")


@pytest.mark.parametrize(
    ("name", "hours", "least", "most"),
    [
        ("nightly_batch_new", 2, 3.6, 4.4),  # three times on top of a steady key
        ("month_end", 48, 3.9, 4.1),
        ("load_test", 1, 9.2, 10.8),
        ("release_day", 24, 1.95, 3.05),
        ("backfill", 6, 5.7, 6.3),
    ],
)
def test_surges_are_as_large_and_as_long_as_stated(name: str, hours: int, least: float, most: float) -> None:
    negative = made(name)
    end_ms = negative.start_ms + hours * HOUR_MS
    assert least < times(negative, negative.start_ms, end_ms) < most
    after = negative.rows.between(end_ms, negative.until_ms)
    assert after.ts_ms.tolist() == clean(negative, end_ms, negative.until_ms).ts_ms.tolist()
    assert after.rows > 0


@pytest.mark.parametrize(("name", "hours"), [("nightly_batch_new", 2), ("backfill", 6)])
def test_night_work_falls_into_hours_in_which_an_office_key_rests(name: str, hours: int) -> None:
    negative = made(name, OFFICE)
    end_ms = negative.start_ms + hours * HOUR_MS
    assert clean(negative, negative.start_ms, end_ms).rows == 0
    per_s = negative.rows.between(negative.start_ms, end_ms).requests.sum() / (hours * 3600)
    assert per_s == pytest.approx((3 if hours == 2 else 5) * RPS, rel=0.15)


def test_a_usual_batch_ran_every_night_since_the_record_began() -> None:
    negative = made("nightly_batch_usual", OFFICE)
    assert negative.from_ms == START_MS
    rows, own = negative.rows, clean(negative, START_MS, negative.until_ms)
    jobs = rows.where(~np.isin(rows.ts_ms, own.ts_ms))
    nights = np.bincount((jobs.ts_ms - START_MS) // DAY_MS, jobs.requests)
    usual = 3 * RPS * 2 * 3600
    assert len(nights) == (negative.until_ms - START_MS) // DAY_MS
    assert nights.min() > 0.7 * usual
    assert nights.max() < 1.3 * usual
    hour = (jobs.ts_ms - START_MS) % DAY_MS // HOUR_MS
    assert len(set(hour.tolist())) <= 3


def test_a_load_test_is_announced_for_its_key_and_time() -> None:
    negative = made("load_test")
    (window,) = negative.announced
    grant = announced(window)
    assert window.keys == (world().ledger.owners[STEADY].key_id,)
    assert window.times == 10
    assert grant.since_ms == negative.start_ms - 15 * 60_000 >= START
    assert grant.until_ms == negative.start_ms + 75 * 60_000


@pytest.mark.parametrize("name", sorted(set(NEGATIVES) - {"load_test"}))
def test_nothing_else_is_announced(name: str) -> None:
    assert made(name, OFFICE).announced == ()


def test_a_release_brings_a_new_client_version_to_all_machines_in_four_hours() -> None:
    negative = made("release_day")
    old = {agent.code for agent in world().profiles[STEADY].agents}
    new = ~np.isin(negative.rows.agent, list(old))
    texts = world().ledger.texts
    (name,) = {texts.text(code) for code in negative.rows.agent[new].tolist()}
    assert str(name).endswith(" 2.0.0")
    since = negative.rows.ts_ms - negative.start_ms
    assert 0.05 < new[since < HOUR_MS].mean() < 0.25
    assert new[since >= 4 * HOUR_MS].all()


def test_a_launch_doubles_the_use_each_day_and_keeps_it() -> None:
    negative = made("launch_ramp")
    for day, expected in ((0, 1.44), (1, 2.89), (2, 5.77), (3, 8.0)):  # means of 2**days over each day
        from_ms = negative.start_ms + day * DAY_MS
        assert times(negative, from_ms, from_ms + DAY_MS) == pytest.approx(expected, rel=0.1)


def test_a_retry_storm_fails_four_in_five_and_tries_them_again() -> None:
    negative = made("retry_storm")
    end_ms = negative.start_ms + 20 * 60_000
    assert 3.2 < times(negative, negative.start_ms, end_ms + 80_000) < 5.0
    storm = negative.rows.between(negative.start_ms, end_ms)
    assert (storm.status >= 500).mean() > 0.7
    assert storm.input_tokens[storm.status >= 500].sum() == 0
    calm = negative.rows.between(end_ms + 80_000, negative.until_ms)
    assert (calm.status >= 500).mean() < 0.02


def test_a_cache_flush_costs_more_for_the_same_requests() -> None:
    negative = made("cache_flush")
    own = clean(negative, negative.start_ms, negative.until_ms)
    for name in ("ts_ms", "input_tokens", "output_tokens", "model", "ip"):
        assert getattr(negative.rows, name).tolist() == getattr(own, name).tolist()
    without = negative.rows.between(negative.start_ms, negative.start_ms + 3 * HOUR_MS)
    assert without.cached_tokens.sum() == 0
    assert without.usd > clean(negative, negative.start_ms, negative.start_ms + 3 * HOUR_MS).usd
    assert negative.rows.cached_tokens[-10:].tolist() == own.cached_tokens[-10:].tolist()


def test_a_new_model_takes_over_within_two_days() -> None:
    negative = made("new_model_gradual")
    new = negative.rows.model == world().ledger.texts.code("gpt-5.2")
    since = negative.rows.ts_ms - negative.start_ms
    assert new[since < 2 * HOUR_MS].mean() == pytest.approx(0.12, abs=0.06)
    assert new[(since >= 23 * HOUR_MS) & (since < 25 * HOUR_MS)].mean() == pytest.approx(0.55, abs=0.1)
    assert new[since >= 2 * DAY_MS].all()
    assert negative.rows.input_tokens.tolist() == clean(negative, START, negative.until_ms).input_tokens.tolist()


def test_a_cheaper_model_takes_over_at_once() -> None:
    negative = made("new_model_at_once")
    assert set(negative.rows.model.tolist()) == {world().ledger.texts.code("gpt-5-mini")}
    assert negative.rows.usd < 0.5 * clean(negative, START, negative.until_ms).usd


def test_a_rotation_moves_the_use_and_keeps_the_sum() -> None:
    negative = made("key_rotation")
    old, new = negative.keys
    owners = world().ledger.owners
    assert owners[new][1:] == owners[old][1:]
    assert owners[new].key_id != owners[old].key_id
    rows, own = negative.rows, clean(negative, START, negative.until_ms)
    assert rows.ts_ms.tolist() == own.ts_ms.tolist()
    assert rows.usd == pytest.approx(own.usd)
    assert (rows.key[rows.ts_ms < START + 600_000] == old).mean() > 0.5
    assert (rows.key[rows.ts_ms >= START + 6 * HOUR_MS] == new).all()


def test_a_new_key_starts_like_an_older_one_that_goes_on_untouched() -> None:
    negative = made("new_key_first_day", OFFICE)
    (new,) = negative.keys
    assert world().of_key(new).rows == 0
    assert negative.until_ms - negative.start_ms == DAY_MS
    assert negative.rows.rows == world().of_key(OFFICE).between(START, START + DAY_MS).rows
    assert set(((negative.rows.ts_ms - START_MS) // HOUR_MS % 24).tolist()) == set(range(9, 17))


def test_without_successors_there_is_no_new_key() -> None:
    half = len(world().ledger.owners) // 2
    alone = replace(world(), ledger=Ledger(world().ledger.owners[:half], world().ledger.texts))
    with pytest.raises(ValueError, match="with_successors"):
        NEGATIVES["key_rotation"](Case(alone, (STEADY,), START, np.random.default_rng(1)))


def test_winter_time_brings_everything_an_hour_later() -> None:
    negative = made("daylight_saving", OFFICE)
    assert (negative.start_ms - START_MS) % DAY_MS == 0
    own = clean(negative, negative.start_ms, negative.until_ms - HOUR_MS)
    assert (negative.rows.ts_ms - HOUR_MS).tolist() == own.ts_ms.tolist()
    assert negative.rows.usd == pytest.approx(own.usd)
    assert set(((negative.rows.ts_ms - START_MS) // HOUR_MS % 24).tolist()) == set(range(10, 18))


def test_a_holiday_is_three_to_five_silent_days_and_then_use_as_ever() -> None:
    for seed in range(5):
        negative = made("holiday", seed=seed)
        first_ms = int(negative.rows.ts_ms[0])
        assert 3 * DAY_MS <= first_ms - negative.start_ms < 5 * DAY_MS + EVERY_MS
        assert negative.rows.ts_ms.tolist() == clean(negative, first_ms, negative.until_ms).ts_ms.tolist()
        assert negative.until_ms - first_ms == pytest.approx(DAY_MS, abs=EVERY_MS)


def test_night_is_when_the_key_rests_and_never_before_the_start() -> None:
    for key in (STEADY, OFFICE):
        at_ms = next_night_ms(Case(world(), (key,), START, np.random.default_rng(1)), 6)
        assert START <= at_ms < START + DAY_MS
    assert (at_ms - START_MS) % DAY_MS // HOUR_MS in (17, 18, 19, 20, 21, 22, 23, 0, 1, 2, 3)
