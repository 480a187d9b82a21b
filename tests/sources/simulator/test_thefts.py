"""Each theft has the size and the marks of its shape, and is told apart only by the label beside the event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from schemas.event import UsageEvent
from sources.simulator.arrivals import Rhythm
from sources.simulator.events import Event
from sources.simulator.keys import SimKey, make_keys, with_monthly_usd
from sources.simulator.prices import PROVIDERS
from sources.simulator.shapes import SHAPES
from sources.simulator.thefts import Theft, plant, steal
from sources.simulator.traffic import generate

START_MS = 1_795_392_000_000  # 2026-11-23 00:00 UTC
HALF_HOUR_S = 1800.0
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def keys() -> tuple[SimKey, ...]:
    """Six quiet keys of openai, 180 USD a month each."""
    made = make_keys(6, seed=11, provider_mix={"openai": 1})
    return tuple(with_monthly_usd(replace(key, rhythm=Rhythm(mean_rps=0.05)), 180.0) for key in made)


def theft_of(shape: str, keys: tuple[SimKey, ...], duration_s: float = HALF_HOUR_S, **size: float) -> Theft:
    return Theft(shape, keys, START_MS, duration_s, seed=1, **size)


def stolen(theft: Theft) -> list[Event]:
    return list(steal(theft, priced=True))


def usd_per_min(events: list[Event], duration_s: float) -> float:
    return float(sum(event["cost_usd"] for event in events) / (duration_s / 60))


def different(events: list[Event], column: str) -> int:
    return len({event[column] for event in events})


@pytest.mark.parametrize("shape", SHAPES)
def test_stolen_events_are_valid_ordered_repeatable_and_within_the_theft(shape: str, keys: tuple[SimKey, ...]) -> None:
    duration_s = 5 * DAY_S if shape == "low_and_slow" else HALF_HOUR_S
    events = stolen(theft_of(shape, keys, duration_s))
    assert events == stolen(theft_of(shape, keys, duration_s))
    assert all(before["ts"] <= after["ts"] for before, after in pairwise(events))
    assert events[0]["ts"] >= START_MS
    assert events[-1]["ts"] < START_MS + duration_s * 1000
    for event in events:
        UsageEvent.model_validate(event)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stolen_event_has_the_fields_of_any_other(shape: str, keys: tuple[SimKey, ...]) -> None:
    own = next(iter(generate(keys, start_ms=START_MS, duration_s=HALF_HOUR_S, seed=1)))
    taken = next(iter(steal(theft_of(shape, keys))))
    assert set(taken) - {"error"} == set(own) - {"error"}
    assert {name: taken[name] for name in ("team", "app", "env")} in [
        {"team": key.team, "app": key.app, "env": key.env} for key in keys
    ]


@pytest.mark.parametrize(
    ("shape", "expected_usd_per_min"),
    [("burst", 28.6), ("reseller", 31.9), ("fan_out", 4 * 9.7), ("dormant_wakes", 9.7)],
)
def test_a_shape_has_its_published_size(shape: str, expected_usd_per_min: float, keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of(shape, keys))
    assert usd_per_min(events, HALF_HOUR_S) == pytest.approx(expected_usd_per_min, rel=0.1)


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - {"probe_then_abuse", "low_and_slow", "many_keys"}))
def test_the_size_asked_for_is_the_size_given(shape: str, keys: tuple[SimKey, ...]) -> None:
    by_usd = stolen(theft_of(shape, keys[:1], usd_per_min=12.0))
    by_times = stolen(theft_of(shape, keys[:1], times_normal=100.0))
    assert usd_per_min(by_usd, HALF_HOUR_S) == pytest.approx(12.0, rel=0.15)
    assert usd_per_min(by_times, HALF_HOUR_S) == pytest.approx(100 * 180 / 43_200, rel=0.3)


def test_a_burst_comes_from_a_new_place_with_the_dearest_model(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("burst", keys))
    use = keys[0].use
    assert {event["model"] for event in events} == {"gpt-5-pro"}
    assert different(events, "country") == different(events, "user_agent") == 1
    assert {event["country"] for event in events}.isdisjoint(origin.country for origin in use.origins)
    assert {event["ip"] for event in events}.isdisjoint(origin.ip for origin in use.origins)
    assert {event["user_agent"] for event in events}.isdisjoint(use.user_agents)


def test_a_reseller_has_many_addresses_and_programs_and_short_prompts(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("reseller", keys))
    assert different(events, "ip") > 300
    assert different(events, "country") == 10
    assert different(events, "user_agent") > 30
    assert np.median([event["input_tokens"] for event in events]) < 200
    assert 0.5 < np.mean([event["model"] == "gpt-5-pro" for event in events]) < 0.7


def test_a_probe_is_tiny_and_failing_before_the_ramp(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("probe_then_abuse", keys, 3600.0))
    probes = [event for event in events if event["ts"] < START_MS + 180_000]
    full = [event for event in events if event["ts"] >= START_MS + (180 + 17 * 60) * 1000]
    assert 8 <= len(probes) <= 35
    assert sum(event["status"] >= 400 for event in probes) >= 4
    assert any(event["endpoint"] == "/v1/models" for event in probes)
    assert max(event["output_tokens"] for event in probes) < 50
    assert usd_per_min(full, 3600 - 180 - 17 * 60) == pytest.approx(28.6, rel=0.1)
    ramp = [event for event in events if 180_000 <= event["ts"] - START_MS < 180_000 + 8 * 60_000]
    assert usd_per_min(ramp, 8 * 60) < 28.6 / 2


def test_low_and_slow_grows_by_a_fifth_a_day_from_a_fifth_of_normal(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("low_and_slow", keys, 10 * DAY_S))
    by_day = [
        usd_per_min([event for event in events if (event["ts"] - START_MS) // 86_400_000 == day], DAY_S)
        for day in range(10)
    ]
    normal = keys[0].normal_usd_per_min
    assert by_day[0] == pytest.approx(0.2 * 1.2**0.5 * normal, rel=0.3)
    assert by_day[9] / by_day[0] == pytest.approx(1.2**9, rel=0.35)
    assert {event["country"] for event in events} == {keys[0].use.origins[0].country}


def test_fan_out_splits_evenly_over_countries(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("fan_out", keys))
    spend: dict[str, float] = {}
    for event in events:
        spend[event["country"]] = spend.get(event["country"], 0.0) + event["cost_usd"]
    assert len(spend) == 4
    for usd in spend.values():
        assert usd / 30 == pytest.approx(9.7, rel=0.2)


def own_use(keys: tuple[SimKey, ...]) -> list[Event]:
    return list(generate(keys[:1], start_ms=START_MS, duration_s=DAY_S, seed=1, priced=True))


def mean(events: list[Event], column: str) -> float:
    return float(np.mean([event[column] for event in events]))


def test_a_model_swap_keeps_place_and_length_and_multiplies_the_cost(keys: tuple[SimKey, ...]) -> None:
    own, swapped = own_use(keys), stolen(theft_of("model_swap", keys, DAY_S))
    assert {event["model"] for event in swapped} == {PROVIDERS["openai"].dearest}
    assert {event["ip"] for event in swapped} <= {origin.ip for origin in keys[0].use.origins}
    assert len(swapped) == pytest.approx(0.3 * len(own), rel=0.2)
    assert mean(swapped, "input_tokens") == pytest.approx(mean(own, "input_tokens"), rel=0.1)
    assert mean(swapped, "cost_usd") > 10 * mean(own, "cost_usd")


def test_context_stuffing_sends_fifty_times_the_input_with_the_same_models(keys: tuple[SimKey, ...]) -> None:
    own, stuffed = own_use(keys), stolen(theft_of("context_stuffing", keys, DAY_S))
    assert {event["model"] for event in stuffed} <= {event["model"] for event in own}
    assert mean(stuffed, "input_tokens") == pytest.approx(50 * mean(own, "input_tokens"), rel=0.1)
    assert mean(stuffed, "output_tokens") == pytest.approx(mean(own, "output_tokens"), rel=0.1)


def test_one_actor_uses_many_keys_from_one_network(keys: tuple[SimKey, ...]) -> None:
    events = stolen(theft_of("many_keys", keys))
    assert {event["key_id"] for event in events} == {key.key_id for key in keys}
    assert len({event["ip"].rsplit(".", 1)[0] for event in events}) == 1
    assert different(events, "user_agent") == different(events, "country") == 1
    late = [event for event in events if event["ts"] >= START_MS + 600_000]
    assert usd_per_min(late, HALF_HOUR_S - 600) == pytest.approx(28.6, rel=0.1)


def test_planting_merges_in_time_order_and_labels_each_event(keys: tuple[SimKey, ...]) -> None:
    thefts = [theft_of("burst", keys), replace(theft_of("reseller", keys[1:]), start_ms=START_MS + 300_000)]
    traffic = list(generate(keys, start_ms=START_MS, duration_s=3600, seed=1, priced=True))
    planted = list(plant(traffic, thefts, priced=True))
    assert [event for event, theft in planted if theft is None] == traffic
    for theft in thefts:
        assert [event for event, label in planted if label == theft] == stolen(theft)
    assert all(before["ts"] <= after["ts"] for (before, _), (after, _) in pairwise(planted))
    assert len({event["event_id"] for event, _ in planted}) == len(planted)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda keys: theft_of("smash_and_grab", keys), "unknown theft shape"),
        (lambda keys: theft_of("burst", keys, usd_per_min=1.0, times_normal=2.0), "not both"),
        (lambda keys: theft_of("many_keys", keys[:1]), "at least 2"),
        (lambda keys: theft_of("burst", ()), "at least 1"),
    ],
)
def test_a_theft_that_makes_no_sense_is_refused(
    build: Callable[[tuple[SimKey, ...]], Theft], complaint: str, keys: tuple[SimKey, ...]
) -> None:
    with pytest.raises(ValueError, match=complaint):
        build(keys)
