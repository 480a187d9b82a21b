"""Whole stories: quiet weeks, thefts, new keys, slow ramps."""

from __future__ import annotations

from collections import defaultdict

import pytest

from detectors.core import ScoreCore
from detectors.examples import NOW_S
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding
from tests.detectors.traffic import DAY_S, healthy, play, theft


def new_core() -> ScoreCore:
    return ScoreCore(DetectorsConfig(), partition=0)


def episodes(findings: list[Finding], family: str) -> int:
    """Findings of one key within six hours are one episode."""
    last: dict[str, int] = {}
    count = 0
    for finding in findings:
        if finding.family == family:
            count += finding.at_ms - last.get(finding.key_id, -(10**15)) > 6 * 3600 * 1000
            last[finding.key_id] = finding.at_ms
    return count


@pytest.mark.parametrize("seed", [1, 2])
def test_a_clean_week_of_twenty_keys_wakes_hardly_anybody(seed: int) -> None:
    told = play(new_core(), healthy(seed, keys=20, days=7))

    assert episodes(told, "velocity") <= 5
    assert episodes(told, "mix") + episodes(told, "origin") <= 5
    assert not any(finding.certain for finding in told)


def test_a_theft_is_told_by_two_families_within_twenty_seconds() -> None:
    core, learned = new_core(), healthy(3, keys=8, days=4)
    play(core, learned)
    start = NOW_S + 4 * DAY_S + 3600.0

    told = play(core, [event for key in range(8) for event in theft(key, start)], first_offset=10**6)

    families: dict[str, set[str]] = defaultdict(set)
    for finding in told:
        if finding.at_ms <= (start + 20) * 1000 and finding.severity != "info":
            families[finding.key_id].add(finding.family)
    assert all("velocity" in families[f"k{key:02d}"] for key in range(8))
    assert all(families[f"k{key:02d}"] & {"mix", "origin"} for key in range(8))


def test_a_finding_explains_itself() -> None:
    core = new_core()
    play(core, healthy(3, keys=2, days=4))

    told = play(core, theft(0, NOW_S + 4 * DAY_S + 3600.0), first_offset=10**6)

    strongest = {finding.family: finding for finding in told if finding.family != "cohort"}
    velocity, mix, origin = strongest["velocity"], strongest["mix"], strongest["origin"]
    assert velocity.reason.startswith("spends ")
    assert "times more); a healthy key shows this less than once in " in velocity.reason
    assert float(velocity.evidence["observed"]) > 10 * float(velocity.evidence["expected"])
    assert velocity.usd_per_min > 1 > velocity.expected_usd_per_min
    assert mix.reason.startswith("gpt-5-pro is ")
    assert "it never was used before" in mix.reason
    assert origin.reason.startswith("comes from a new network (203.0.113.0/24), a new country (RU)")
    assert all("\n" not in finding.reason for finding in told)


def test_a_theft_does_not_teach_the_key_that_theft_is_normal() -> None:
    """An hour of theft still alarms at its end."""
    core = new_core()
    play(core, healthy(4, keys=3, days=4))
    start = NOW_S + 4 * DAY_S

    told = play(core, theft(0, start, seconds=3600, per_s=0.3, cost_usd=0.3), first_offset=10**6)

    last = {finding.family: finding.at_ms / 1000 - start for finding in told}
    assert all(last[family] > 3400 for family in ("velocity", "mix", "origin"))


def test_a_new_key_of_modest_steady_use_is_quiet() -> None:
    core = new_core()
    steady = [{"ts_s": NOW_S + 5.0 * n, "key_id": "new", "cost_usd": 0.004} for n in range(1440)]

    assert play(core, steady) == []


def test_a_new_key_stolen_at_once_is_told() -> None:
    """No history of its own: the allowance of its cohort is the measure."""
    told = play(new_core(), theft(0, NOW_S, seconds=120, per_s=8, cost_usd=0.2))

    assert any(finding.family == "velocity" and "allowance as a new key" in finding.reason for finding in told)


def test_probing_is_told_before_the_abuse_begins() -> None:
    core = new_core()
    play(core, healthy(6, keys=4, days=4))
    start = NOW_S + 4 * DAY_S + 3600.0
    refused = {"status": 403, "cost_usd": 0.0, "input_tokens": 0, "output_tokens": 0, "key_id": "k00"}
    probes = [{"ts_s": start + 10 * n, **refused} for n in range(10)]

    told = play(core, probes + theft(0, start + 300), first_offset=10**6)

    first = {finding.family: finding.at_ms / 1000 - start for finding in reversed(told)}
    assert first["errors"] < 100 < first["velocity"]


def test_a_swapped_model_is_told_by_its_price_within_a_minute() -> None:
    """As many requests and tokens as ever, from the same place, at thirty times the price."""
    core = new_core()
    steady = [{"ts_s": NOW_S + 60.0 * n, "key_id": "k", "cost_usd": 0.002} for n in range(DAY_S // 60)]
    swapped = [{"ts_s": NOW_S + DAY_S + 20.0 * n, "key_id": "k", "cost_usd": 0.06} for n in range(10)]

    told = play(core, steady + swapped)

    first = next(finding for finding in told if finding.family == "economics")
    assert 0 <= first.at_ms / 1000 - NOW_S - DAY_S <= 60
    assert first.reason.startswith("pays ")


def test_a_slow_ramp_is_told_as_drift() -> None:
    """Two percent more in each window, nothing sudden: what follows the key follows the ramp too."""
    core = new_core()
    events = []
    for block in range(144 * 5):
        day = block / 144
        level = 1.0 if day < 3 else 1.02 ** (block - 3 * 144)
        events += [
            {"ts_s": NOW_S + block * 600 + 60.0 * n, "key_id": "frog", "cost_usd": 0.03 * level} for n in range(3)
        ]

    told = play(core, events)

    first = min(finding.at_ms for finding in told if finding.family == "drift")
    assert 3 < (first / 1000 - NOW_S) / DAY_S < 4.5


def test_cohort_findings_only_inform() -> None:
    core = ScoreCore(
        DetectorsConfig.model_validate({"cohort": {"alarm_per_key_week": 900, "window_samples": 10}}), partition=0
    )
    told = play(core, healthy(5, keys=6, days=1, busy=0.3) + theft(0, NOW_S + DAY_S))

    severities = {finding.severity for finding in told if finding.family == "cohort"}
    assert severities == {"info"}
