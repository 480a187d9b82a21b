"""The demo's story: enough warm-up, a victim that normally costs little, a theft of about 30 USD a minute."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sources.simulator.events import Event
from sources.simulator.keys import make_keys
from sources.simulator.scenario import Scenario, demo_scenario, with_total_events
from sources.simulator.thefts import Theft

END_MS = 1_795_428_000_000  # 2026-11-23 10:00 UTC


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return demo_scenario(1, END_MS, provider_override="sandbox")


@pytest.fixture(scope="module")
def events(scenario: Scenario) -> list[tuple[Event, Theft | None]]:
    return list(scenario.events())


def test_it_is_of_a_size_that_can_be_played_in_a_demo(events: list[tuple[Event, Theft | None]]) -> None:
    assert 90_000 < len(events) < 170_000
    assert len({event["key_id"] for event, _ in events}) > 45
    assert all(before["ts"] <= after["ts"] for (before, _), (after, _) in pairwise(events))


def test_every_event_names_the_overridden_provider_and_its_cost(events: list[tuple[Event, Theft | None]]) -> None:
    assert {event["provider"] for event, _ in events} == {"sandbox"}
    assert all(event["cost_usd"] >= 0 for event, _ in events)


def test_the_theft_begins_after_26_hours_and_takes_30_usd_a_minute(
    scenario: Scenario, events: list[tuple[Event, Theft | None]]
) -> None:
    stolen = [event for event, theft in events if theft]
    assert stolen[0]["ts"] - scenario.start_ms == pytest.approx(26 * 3_600_000, abs=10_000)
    assert stolen[-1]["ts"] < scenario.end_ms == END_MS
    assert sum(event["cost_usd"] for event in stolen) / 10 == pytest.approx(30, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_victim_is_a_production_key_of_180_usd_a_month(seed: int) -> None:
    scenario = demo_scenario(seed, END_MS)
    [victim] = scenario.thefts[0].keys
    assert victim.env == "prod"
    assert victim in scenario.keys
    assert len({key.key_id for key in scenario.keys}) == 60
    assert victim.normal_usd_per_month == pytest.approx(180)
    own = [
        event["cost_usd"]
        for event, theft in scenario.events(priced=True)
        if theft is None and event["key_id"] == victim.key_id
    ]
    assert sum(own) / (26 + 1 / 6) * 24 * 30 == pytest.approx(180, rel=0.4)
    assert len(own) > 1_000


def test_no_key_drowns_the_others() -> None:
    keys = with_total_events(make_keys(40, seed=3), 10.0)
    rates = [key.rhythm.long_run_rps for key in keys]
    assert sum(rates) == pytest.approx(10.0)
    assert max(rates) < 1.0
