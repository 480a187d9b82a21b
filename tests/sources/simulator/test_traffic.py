"""Generated traffic: valid, ordered, repeatable, and as busy, bursty and long-worded as the fitted figures say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event import UsageEvent
from sources.simulator.arrivals import Gaps, Rhythm, Spreader, Windows, weibull_cv
from sources.simulator.fitted import TOKEN_PROBABILITIES, WINDOW_S
from sources.simulator.keys import SimKey, make_keys
from sources.simulator.prices import PROVIDERS, unit_prices
from sources.simulator.traffic import generate
from sources.simulator.use import expected_request_usd

START_MS = 1_795_392_000_000  # 2026-11-23 00:00 UTC
HOUR_S = 3600


def steady(key: SimKey, rps: float) -> SimKey:
    return replace(key, rhythm=Rhythm(mean_rps=rps))


@pytest.fixture(scope="module")
def keys() -> list[SimKey]:
    return make_keys(60, seed=1, min_active_share=0.05)


def test_every_event_is_a_valid_usage_event_with_its_own_id(keys: list[SimKey]) -> None:
    events = list(generate(keys, start_ms=START_MS, duration_s=3 * HOUR_S, seed=1))
    assert len(events) > 3_000
    assert len({event["event_id"] for event in events}) == len(events)
    for event in events:
        valid = UsageEvent.model_validate(event)
        assert valid.cached_input_tokens + valid.cache_write_tokens <= valid.input_tokens
        assert valid.reasoning_tokens <= valid.output_tokens
        assert valid.cost_usd is None


def test_events_come_in_time_order_within_the_span_asked_for(keys: list[SimKey]) -> None:
    events = list(generate(keys, start_ms=START_MS + 1, duration_s=1234.5, seed=1))
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(events))
    assert events[0]["ts"] > START_MS
    assert events[-1]["ts"] < START_MS + 1_234_501


def test_the_seed_decides_everything(keys: list[SimKey]) -> None:
    def run(seed: int) -> list[dict[str, object]]:
        return list(generate(keys, start_ms=START_MS, duration_s=HOUR_S, seed=seed))

    assert run(1) == run(1)
    assert run(1) != run(2)


@settings(max_examples=10, deadline=None)
@given(cut_s=st.integers(1, 7200))
def test_a_longer_run_begins_like_a_shorter_one(cut_s: int) -> None:
    few = make_keys(8, seed=5, min_active_share=0.5)
    longer = list(generate(few, start_ms=START_MS, duration_s=7200, seed=5))
    shorter = list(generate(few, start_ms=START_MS, duration_s=cut_s, seed=5))
    assert shorter == longer[: len(shorter)]
    assert all(event["ts"] >= START_MS + cut_s * 1000 for event in longer[len(shorter) :])


def test_a_secret_is_sent_instead_of_the_key_id_and_shows_in_no_repr() -> None:
    [key] = make_keys(1, seed=3, with_secrets=True)
    assert key.secret is not None
    [event] = islice(generate([steady(key, 1.0)], start_ms=START_MS, duration_s=60, seed=3), 1)
    assert event["key"] == key.secret.get_secret_value()
    assert "key_id" not in event
    assert event["key"] not in repr(key)


def test_a_retired_key_falls_silent(keys: list[SimKey]) -> None:
    key = replace(steady(keys[0], 1.0), active_until_ms=START_MS + 900_000)
    events = list(generate([key], start_ms=START_MS, duration_s=HOUR_S, seed=1))
    assert len(events) == pytest.approx(900, rel=0.2)
    assert events[-1]["ts"] < START_MS + 900_000


def test_the_mean_rate_is_kept_through_idleness_level_and_hours() -> None:
    rhythm = Rhythm(mean_rps=2.0, active_share=0.5, on_windows=4, level_sd=1.0, level_rho=0.8, day_shape=2)
    windows = Windows([rhythm] * 400, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    rates = np.array([windows.next_rates(START_MS + at * 600_000, rng) for at in range(144)])
    active = rates > 0
    assert rates.mean() == pytest.approx(rhythm.long_run_rps, rel=0.05)
    assert active.mean() == pytest.approx(0.5, abs=0.02)
    runs = (~active[:-1] & active[1:]).sum()
    assert active[1:].sum() / runs == pytest.approx(4, rel=0.1)
    assert rates[13 * 6 : 17 * 6].mean() > 3 * rates[2 * 6 : 6 * 6].mean()  # office hours


def test_rate_scale_multiplies_the_number_of_events(keys: list[SimKey]) -> None:
    key = steady(keys[0], 2.0)
    once = sum(1 for _ in generate([key], start_ms=START_MS, duration_s=HOUR_S, seed=1))
    tenth = sum(1 for _ in generate([key], start_ms=START_MS, duration_s=HOUR_S, seed=1, rate_scale=0.1))
    assert once == pytest.approx(7200, rel=0.05)
    assert tenth == pytest.approx(720, rel=0.15)


@pytest.mark.parametrize("family", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 4.0])
def test_gaps_within_a_window_have_the_burstiness_asked_for(family: str, cv: float) -> None:
    gaps = Gaps.of_cv("gamma" if family == "gamma" else "weibull", cv)
    assert (gaps.shape**-0.5 if family == "gamma" else weibull_cv(gaps.shape)) == pytest.approx(cv, rel=0.01)
    owner, offsets = Spreader([gaps] * 40).offsets(np.full(40, 2000), np.random.default_rng(1))
    measured = [np.diff(offsets[owner == one]).std() / np.diff(offsets[owner == one]).mean() for one in range(40)]
    assert np.median(measured) == pytest.approx(cv, rel=0.1)
    assert offsets.max() < WINDOW_S


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=20), shape=st.floats(0.01, 5))
def test_each_sender_gets_its_number_of_requests_within_the_window(counts: list[int], shape: float) -> None:
    spreader = Spreader([Gaps("gamma", shape)] * len(counts))
    owner, offsets = spreader.offsets(np.array(counts), np.random.default_rng(1))
    assert np.bincount(owner, minlength=len(counts)).tolist() == counts
    assert ((offsets >= 0) & (offsets < WINDOW_S)).all()


def test_token_lengths_follow_the_quantiles_of_the_key(keys: list[SimKey]) -> None:
    key = steady(keys[0], 20.0)
    events = [one for one in generate([key], start_ms=START_MS, duration_s=HOUR_S, seed=1) if one["status"] == 200]
    for column, quantiles, factor in (
        ("input_tokens", key.use.tokens.input_tokens, key.use.input_factor),
        ("output_tokens", key.use.tokens.output_tokens, key.use.output_factor),
    ):
        lengths = [event[column] for event in events]
        for p, quantile in zip(TOKEN_PROBABILITIES[1:8], quantiles[1:8], strict=True):
            assert np.quantile(lengths, p) == pytest.approx(quantile * factor, rel=0.05, abs=1)


def test_models_and_failures_come_in_their_shares(keys: list[SimKey]) -> None:
    key = steady(keys[0], 20.0)
    events = list(generate([key], start_ms=START_MS, duration_s=HOUR_S, seed=1))
    models = Counter(event["model"] for event in events)
    for model, share in key.use.models:
        assert models[model] / len(events) == pytest.approx(share, abs=0.01)
    failed = [event for event in events if event["status"] != 200]
    assert len(failed) / len(events) == pytest.approx(0.008, abs=0.002)
    assert all(event["error"] and event["output_tokens"] == 0 for event in failed)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (provider, model)
        for provider, known in PROVIDERS.items()
        for model in (known.small, known.middle, known.large, known.dearest)
    ],
)
def test_every_model_has_a_price_and_the_dearest_is_dearest(provider: str, model: str) -> None:
    assert unit_prices(provider, model).input > 0
    assert unit_prices(provider, model).output <= unit_prices(provider, PROVIDERS[provider].dearest).output


def test_a_priced_event_costs_what_the_price_table_says(keys: list[SimKey]) -> None:
    for event in generate(keys, start_ms=START_MS, duration_s=HOUR_S, seed=1, priced=True):
        usage = Usage(
            input_tokens=event["input_tokens"],
            cache_read_tokens=event["cached_input_tokens"],
            cache_write_tokens=event["cache_write_tokens"],
            output_tokens=event["output_tokens"],
        )
        table = calc_price(usage, event["model"], provider_id=event["provider"]).total_price
        assert event["cost_usd"] == pytest.approx(float(table), abs=2e-9)


def test_the_expected_cost_of_a_request_is_its_mean_cost() -> None:
    for key in make_keys(12, seed=9):
        events = generate([steady(key, 10.0)], start_ms=START_MS, duration_s=1800, seed=1, priced=True)
        mean = float(np.mean([event["cost_usd"] for event in events]))
        assert mean == pytest.approx(expected_request_usd(key.use), rel=0.07)


def test_a_reported_provider_hides_the_real_one_and_brings_the_cost() -> None:
    [key] = make_keys(1, seed=1, report_as="sandbox")
    [event] = islice(generate([steady(key, 1.0)], start_ms=START_MS, duration_s=60, seed=1), 1)
    assert event["provider"] == "sandbox"
    assert event["model"] in {model for model, _ in key.use.models}
    assert event["cost_usd"] > 0


def test_no_keys_give_no_events() -> None:
    assert list(generate([], start_ms=START_MS, duration_s=HOUR_S, seed=1)) == []
