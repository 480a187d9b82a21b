"""A second version of the settings says beside a core what it would say with a core of its own."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.beside import SecondJudge, beside, fork, learns_alike
from detectors.core import ScoreCore
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding
from tests.detectors.history import SETTINGS, cut, forbid, history, new_core

JUDGED_ALONE: dict[str, dict[str, Any]] = {
    "rarer velocity alarms": {"velocity": {"alarm_per_key_week": 3.0}},
    "more velocity alarms": {"velocity": {"alarm_per_key_week": 300.0}},
    "more mix alarms": {"mix": {"alarm_per_key_week": 200.0}},
    "rarer origin alarms": {"origin": {"alarm_per_key_week": 9.0}},
    "rarer cohort alarms": {"cohort": {"alarm_per_key_week": 30.0}},
    "more money": {"velocity": {"min_usd_per_min": 2.0}},
    "longer youth": {"velocity": {"warmup_windows": 90}},
    "a family switched off": {"origin": {"enabled": False}},
    "velocity switched off": {"velocity": {"enabled": False}},
    "limits switched off": {"limits": {"enabled": False}},
    "other limits": {"limits": {"usd_per_min": 1.0, "usd_per_hour": None}},
    "a budget": {"budget": {"usd_per_day": 4.0}},
    "a limit for one environment": {"environments": {"dev": {"usd_per_min": 0.5}}},
    "a limit for one key": {"keys": {"k1": {"requests_per_s": 0.2, "usd_per_day": 0.5}}},
    "less quiet": {"time": {"refractory_s": 1}},
    "an announced time": {
        "announced": [
            {"what": "w", "owner": "o", "reason": "r", "from": "2026-11-23", "until": "2026-11-24", "times": 20.0}
        ]
    },
}
LEARNED = [
    {"velocity": {"decay_per_10min": 0.95}},
    {"velocity": {"hour_weight": 0.5}},
    {"mix": {"min_requests": 9}},
    {"drift": {"delta": 0.5}},
    {"cohort": {"n_trees": 5}},
    {"time": {"dedup_s": 3600}},
]


def changed(changes: dict[str, Any]) -> DetectorsConfig:
    data = SETTINGS.model_dump(exclude_unset=True)
    for name, section in changes.items():
        data[name] = {**data[name], **section} if isinstance(data.get(name), dict) else section
    return DetectorsConfig.model_validate(data)


def core_of(settings: DetectorsConfig) -> ScoreCore:
    return ScoreCore(settings, partition=0, shards=4, forbidden=forbid)


FRAMES = cut(history(9, 550), [200, 201, 350])


def alone(settings: DetectorsConfig) -> list[Finding]:
    core = core_of(settings)
    told = [finding for one in FRAMES for finding in core.process(one)]
    return told + core.advance(core.clock_s + 1)


BEFORE = alone(SETTINGS)


def together(settings: DetectorsConfig) -> tuple[list[Finding], list[Finding]]:
    """What the first says and what the second says."""
    core = new_core()
    second = beside(core, settings, new_core=core_of)
    ours, theirs = list[Finding](), list[Finding]()
    for one in FRAMES:
        ours += core.process(one)
        theirs += second.process(one)
    ours += core.advance(core.clock_s + 1)
    return ours, theirs + second.advance(core.clock_s)


@pytest.mark.parametrize("changes", JUDGED_ALONE.values(), ids=JUDGED_ALONE)
def test_one_core_serves_both_where_only_the_judgement_differs(changes: dict[str, Any]) -> None:
    settings = changed(changes)
    assert learns_alike(SETTINGS, settings)

    ours, theirs = together(settings)

    assert theirs == alone(settings) != BEFORE
    assert ours == BEFORE


@pytest.mark.parametrize("changes", LEARNED, ids=str)
def test_what_is_learned_otherwise_needs_a_core_of_its_own(changes: dict[str, Any]) -> None:
    settings = changed(changes)
    assert not learns_alike(SETTINGS, settings)

    ours, theirs = together(settings)

    assert theirs == alone(settings)
    assert ours == BEFORE


def test_a_family_that_was_not_learned_cannot_be_judged() -> None:
    assert not learns_alike(changed({"origin": {"enabled": False}}), SETTINGS)


def test_a_second_that_begins_later_knows_what_the_first_has_learned_and_said() -> None:
    first, *rest = FRAMES
    core, reference = new_core(), new_core()
    core.process(first)
    reference.process(first)

    second, forked = SecondJudge(core, SETTINGS), fork(core, core_of(SETTINGS))
    told = [(core.process(one), second.process(one), forked.process(one), reference.process(one)) for one in rest]

    assert any(ours for ours, *_ in told)
    assert all(ours == judged == copied == expected for ours, judged, copied, expected in told)
    assert core.summary() == reference.summary()
