"""What is new about a key, in words."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.core import ScoreCore
from detectors.examples import NOW_S
from schemas.config.detectors import DetectorsConfig
from tests.detectors.build import frame

DAY_S = 86_400
SETTINGS = DetectorsConfig.model_validate({"limits": {"usd_per_min": 5.0}, "time": {"refractory_s": 1}})


def owner(at_s: float, **changes: Any) -> dict[str, Any]:
    return {"ts_s": NOW_S + at_s, "key_id": "k1", "cost_usd": 0.01} | changes


def lived(blocks: int = 150) -> list[dict[str, Any]]:
    """Steady use from one place with one model."""
    return [owner(600 * block) for block in range(blocks)]


def changed(*events: dict[str, Any]) -> tuple[str, ...]:
    """What the finding of the last event's second says; that event costs too much."""
    rows = [{**event, "at": number} for number, event in enumerate(events)]
    rows[-1]["cost_usd"] = 50.0
    core = ScoreCore(SETTINGS, partition=0)
    findings = core.process(frame(rows)) + core.advance(core.clock_s + 1)
    sketch = next(finding for finding in reversed(findings) if finding.family == "policy").sketch
    assert sketch is not None
    return sketch.changed


def test_the_owner_in_the_owners_way_is_nothing_new() -> None:
    assert changed(*lived(), owner(600 * 150)) == ()


@pytest.mark.parametrize(
    ("thief", "words"),
    [
        ({"network": "203.0.113.0/24"}, ("new network 203.0.113.0/24",)),
        ({"country": "RU"}, ("new country RU",)),
        ({"user_agent": "curl"}, ("new user agent curl",)),
        ({"user_agent": "x" * 500}, ("new user agent " + "x" * 27 + "…",)),
        ({"model": "gpt-5-pro"}, ("new model gpt-5-pro, 100 % of spend",)),
        (
            {"network": "203.0.113.0/24", "country": "RU", "model": "gpt-5-pro"},
            ("new network 203.0.113.0/24", "new country RU", "new model gpt-5-pro, 100 % of spend"),
        ),
    ],
)
def test_a_thief_is_named_by_what_is_new(thief: dict[str, str], words: tuple[str, ...]) -> None:
    assert changed(*lived(), owner(600 * 150, **thief)) == words


def test_many_new_networks_are_counted() -> None:
    thieves = [owner(600 * 150 + n, network=f"203.0.{n}.0/24") for n in range(3)]
    assert changed(*lived(), *thieves) == ("3 new networks, one is 203.0.2.0/24",)


def test_what_was_new_a_day_ago_is_not_new() -> None:
    settled = [owner(600 * (150 + block), network="203.0.113.0/24") for block in range(150)]
    assert changed(*lived(), *settled, owner(600 * 300)) == ()


def test_a_model_that_grew() -> None:
    mixed = [{**event, "model": "gpt-5-pro"} if n % 10 == 0 else event for n, event in enumerate(lived())]
    words = changed(*mixed, owner(600 * 150, model="gpt-5-pro"))
    assert len(words) == 1
    assert words[0].startswith("model gpt-5-pro: 100 % of spend, usually ")


def test_a_key_that_comes_back() -> None:
    assert changed(*lived(), owner(600 * 150 + 9 * DAY_S))[0] == "back after 9 d of silence"


def test_a_nights_rest_is_no_coming_back() -> None:
    assert changed(*lived(), owner(600 * 150 + 10 * 3600)) == ()


def test_an_hour_in_which_it_never_was() -> None:
    days = [owner(day * DAY_S + 600 * block) for day in range(4) for block in range(48)]  # 10:00 to 18:00
    assert changed(*days, owner(3 * DAY_S + 17 * 3600)) == ("active at 03:00 UTC, an hour in which it hardly ever was",)


def test_a_new_key_says_so() -> None:
    assert changed(*lived(5), owner(600 * 5)) == ("a new key, used in 5 ten-minute windows before",)


def test_all_of_it_at_once_stays_short() -> None:
    thief = {"network": "n" * 300, "country": "c" * 300, "user_agent": "a" * 300, "model": "m" * 300}
    other = {"network": "o" * 300, "country": "d" * 300, "user_agent": "b" * 300, "model": "l" * 300}
    days = [owner(day * DAY_S + 600 * block) for day in range(4) for block in range(48)]
    at_s = 20 * DAY_S + 17 * 3600
    words = changed(*days, owner(at_s, **thief), owner(at_s, **other))
    assert len(words) == 6
    assert sum(map(len, words)) < 330
