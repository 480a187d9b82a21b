"""One recorded story for each detector, and its quiet twin, which differs in one thing and must wake nobody."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from controls.policies import Policies
from detectors.core import ScoreCore
from detectors.examples import NOW_S
from schemas.config.detectors import DetectorsConfig
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.records import Finding
from tests.detectors.traffic import DAY_S, Event, play

KEY = "k"
HOME: Event = {"network": "198.51.100.0/24", "country": "DE", "user_agent": "sdk/1"}
ABROAD: Event = {"network": "203.0.113.0/24", "country": "BR", "user_agent": "curl/8"}
LATER_S = NOW_S + 2.0 * DAY_S + 3600.0
FAMILIES = (
    "limits", "budget", "velocity", "mix", "origin", "economics", "rhythm", "errors", "drift", "repetition", "cohort",
)  # fmt: skip
ALL = DetectorsConfig()
POLICIES = PoliciesConfig(policies=(PolicyConfig(name="cheap-only", allowed_models=("gpt-4.1*",)),))


def use(start_s: float, *, count: int, every_s: float = 1.0, **changes: Any) -> list[Event]:
    return [{"ts_s": start_s + n * every_s, "key_id": KEY, **HOME, **changes} for n in range(count)]


def two_days() -> list[Event]:
    """Six requests in each ten minutes, a hundredth of a dollar in all."""
    return [event for block in range(2 * 144) for event in use(NOW_S + block * 600.0, count=6, every_s=20)]


def various(events: list[Event]) -> list[Event]:
    """The same with requests of many lengths."""
    rng = random.Random(5)
    return [event | {"input_tokens": rng.randint(200, 4000)} for event in events]


def office_days(hour: int) -> list[Event]:
    """Nine days of use from 8 to 18 o'clock UTC, then an hour of the same at another time of the next day."""
    midnight_s = NOW_S - NOW_S % int(DAY_S)
    starts = [midnight_s + DAY_S * day + 600.0 * block for day in range(9) for block in range(8 * 6, 18 * 6)]
    starts += [midnight_s + DAY_S * 9 + 3600.0 * hour + 600.0 * block for block in range(6)]
    return [event for start_s in starts for event in use(start_s, count=3, every_s=150)]


def ramp(per_block: float) -> list[Event]:
    """Five days, five requests in each ten minutes; from the fourth day on each block costs more than the last."""
    blocks = ((block, 1.0 if block < 3 * 144 else per_block ** (block - 3 * 144)) for block in range(5 * 144))
    return [
        event for block, level in blocks
        for event in use(NOW_S + block * 600.0, count=5, every_s=60, cost_usd=0.02 * level)
    ]  # fmt: skip


def crowd(odd: int) -> list[Event]:
    """Twelve keys that do the same small thing all day; then one of them asks `odd` times for something huge."""
    rng = random.Random(5)
    alike = [
        {
            "ts_s": NOW_S + block * 600 + n * 60 + rng.random() * 20, "key_id": f"{KEY}{key}", **HOME,
            "input_tokens": rng.randint(600, 1000), "cost_usd": 0.002,
        }
        for block in range(144) for key in range(12) for n in range(rng.randint(3, 8))
    ]  # fmt: skip
    huge = use(NOW_S + DAY_S, count=odd, every_s=2, input_tokens=60_000, output_tokens=20_000, cost_usd=1.0)
    return alike + [event | {"key_id": f"{KEY}0"} for event in huge]


def only(family: str, **settings: Any) -> DetectorsConfig:
    values: dict[str, Any] = {name: {"enabled": name == family} for name in FAMILIES}
    values[family] |= settings
    return DetectorsConfig.model_validate(values)


@dataclass(frozen=True)
class Scenario:
    name: str
    loud: Callable[[], list[Event]]
    quiet: Callable[[], list[Event]]
    family: str
    detector: str
    settings: DetectorsConfig = ALL
    says: str = ""


SCENARIOS = [
    Scenario(
        "spend in a minute", lambda: use(NOW_S, count=50, cost_usd=0.5), lambda: use(NOW_S, count=50, cost_usd=0.39),
        "policy", "usd_per_min", only("limits"), "its limit is 20 USD/min",
    ),
    Scenario(
        "spend in an hour", lambda: use(NOW_S, count=55, every_s=60, cost_usd=3.8),
        lambda: use(NOW_S, count=55, every_s=60, cost_usd=3.5), "policy", "usd_per_hour", only("limits"),
        "its limit is 200 USD",
    ),
    Scenario(
        "request rate", lambda: use(NOW_S, count=15, requests=220, cost_usd=0.0001),
        lambda: use(NOW_S, count=15, requests=190, cost_usd=0.0001), "policy", "requests_per_s", only("limits"),
        "its limit is 200 requests/s",
    ),
    Scenario(
        "forbidden model", lambda: use(NOW_S, count=1, model="gpt-5-pro"),
        lambda: use(NOW_S, count=1, model="gpt-4.1-nano"),
        "policy", "allowed_models", only("limits"), "policy cheap-only does not allow",
    ),
    Scenario(
        "burst of spend", lambda: two_days() + use(LATER_S, count=40, cost_usd=0.2),
        lambda: two_days() + use(LATER_S, count=40, cost_usd=0.002), "velocity", "usd_1m", says="its usual peak is",
    ),
    Scenario(
        "another model", lambda: two_days() + use(LATER_S, count=40, every_s=5, model="gpt-5-pro", cost_usd=0.01),
        lambda: two_days() + use(LATER_S, count=40, every_s=5), "mix", "", says="it never was used before",
    ),
    Scenario(
        "another place", lambda: two_days() + use(LATER_S, count=40, every_s=5, **ABROAD),
        lambda: two_days() + use(LATER_S, count=40, every_s=5), "origin", "new_origin",
        says="a new network (203.0.113.0/24)",
    ),
    Scenario(
        "a dearer price for as many tokens", lambda: two_days() + use(LATER_S, count=20, every_s=20, cost_usd=0.06),
        lambda: two_days() + use(LATER_S, count=20, every_s=20), "economics", "usd_per_request",
        says="USD per request in the last minutes, its usual is 0.002",
    ),
    Scenario(
        "stuffed prompts", lambda: two_days() + use(LATER_S, count=20, every_s=20, input_tokens=40_000),
        lambda: two_days() + use(LATER_S, count=20, every_s=20, input_tokens=900), "economics", "input_per_request",
        only("economics"), "input tokens per request in the last minutes, its usual is 800",
    ),
    Scenario(
        "use at night", lambda: office_days(3), lambda: office_days(11), "rhythm", "off_hours",
        only("rhythm", alarm_per_key_week=0.1), "its usual level in the hour to 03:",
    ),
    Scenario(
        "probing", lambda: two_days() + use(LATER_S, count=10, every_s=15, status=403, cost_usd=0.0),
        lambda: two_days() + use(LATER_S, count=10, every_s=15, status=503, cost_usd=0.0), "errors", "refused",
        says="requests refused (4xx), its usual is",
    ),
    Scenario(
        "an agent in a loop",
        lambda: various(two_days()) + use(LATER_S, count=60, every_s=5, cost_usd=0.05),
        lambda: various(two_days() + use(LATER_S, count=60, every_s=5, cost_usd=0.05)),
        "repetition", "equal_requests", only("repetition"), "requests have exactly 800 input tokens, usually",
    ),
    Scenario(
        "slow ramp", lambda: ramp(1.02), lambda: ramp(1.0), "drift", "page_hinkley",
        says="has kept above its earlier days",
    ),
    Scenario(
        "unlike its kind", lambda: crowd(60), lambda: crowd(0), "cohort", "half_space_trees",
        only("cohort", alarm_per_key_week=1, window_samples=50), "unlike other keys",
    ),
]  # fmt: skip


def told(scenario: Scenario, events: list[Event]) -> list[Finding]:
    core = ScoreCore(scenario.settings, partition=0, forbidden=Policies(POLICIES).forbidden)
    return play(core, events)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_loud_story_is_told(scenario: Scenario) -> None:
    found = [finding for finding in told(scenario, scenario.loud()) if finding.family == scenario.family]
    assert found, "nothing was said"
    assert {finding.key_id for finding in found} <= {KEY, f"{KEY}0"}
    assert any(finding.detector == scenario.detector or not scenario.detector for finding in found)
    assert any(scenario.says in finding.reason for finding in found), found[0].reason


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_its_quiet_twin_wakes_nobody(scenario: Scenario) -> None:
    assert [finding.reason for finding in told(scenario, scenario.quiet())] == []
