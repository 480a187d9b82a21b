"""The sketch of a finding: what the key did lately, as the rows say, and the same however they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import sketch as module
from detectors.core import ScoreCore
from detectors.examples import NOW_S
from detectors.placement import shard_of
from detectors.sketch import FIELDS, TENS, codes, decoded
from detectors.state import KeyTable
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding, Scaled, Sketch
from tests.detectors.build import frame
from tests.detectors.history import history, new_core, run

LIMITS = {"limits": {"usd_per_min": 5.0}, "time": {"refractory_s": 1}}
ALARM = {"cost_usd": 50.0}


def core(**changes: Any) -> ScoreCore:
    return ScoreCore(DetectorsConfig.model_validate(LIMITS | changes), partition=0)


def spend(at_s: float, usd: float, **changes: Any) -> dict[str, Any]:
    return {"ts_s": NOW_S + at_s, "key_id": "k1", "cost_usd": usd} | changes


def told(events: list[dict[str, Any]], one: ScoreCore | None = None) -> list[Finding]:
    one = one or core()
    rows = [{**event, "at": number} for number, event in enumerate(events)]
    return one.process(frame(rows)) + one.advance(one.clock_s + 1)


def drawn(events: list[dict[str, Any]]) -> Sketch:
    """The sketch of the finding that the last event brings."""
    finding = next(each for each in reversed(told(events)) if each.family == "policy")
    assert finding.sketch is not None
    return finding.sketch


def near(series: Scaled, expected: list[float]) -> bool:
    """To a thousandth of the greatest value and the steps of a tenth that blocks are kept in."""
    values = [value if value is not None else -1.0 for value in series.values]
    most = max(expected)
    return len(values) == len(expected) and all(
        abs(value - wanted) <= 0.05 * abs(wanted) + most / 990 for value, wanted in zip(values, expected, strict=True)
    )


def test_the_last_hour_by_minute() -> None:
    events = [spend(60 * minute, 0.1 * minute) for minute in range(70)]
    seen = drawn([*events, spend(70 * 60, 50.0)])
    assert near(seen.minutes, [0.1 * minute for minute in range(11, 70)] + [50.0])
    assert seen.at_ms == (NOW_S + 70 * 60) * 1000


def test_the_last_day_by_ten_minutes_with_the_rest_in_between() -> None:
    events = [spend(0, 0.5), spend(3 * 600 + 5, 2.0), spend(3 * 600 + 400, 2.0), spend(5 * 600 + 60, 50.0)]
    assert near(drawn(events).tens, [0.05, 0.0, 0.0, 0.4, 0.0, 25.0])


def test_no_more_than_a_day_is_kept() -> None:
    events = [spend(600 * block, 1.0) for block in range(150)]
    seen = drawn([*events, spend(600 * 150, 50.0)])
    assert near(seen.tens, [0.1] * (TENS - 1) + [50.0])


def test_a_key_seen_for_the_first_time_has_no_past() -> None:
    seen = drawn([spend(0, 50.0)])
    assert (len(seen.tens.counts), seen.windows, seen.peak_1m, seen.peak_10m) == (1, 0, 0.0, 0.0)
    assert set(seen.by_hour.counts) == {-1}
    assert seen.changed == ("a new key, never seen before",)


def test_the_normal_is_what_velocity_has_learned() -> None:
    seen = drawn([*(spend(600 * block, 1.5) for block in range(40)), spend(600 * 40, 50.0)])
    assert seen.peak_1m == pytest.approx(1.5, rel=0.05)
    assert seen.peak_10m == pytest.approx(0.15, rel=0.05)
    known = {hour: usd for hour, usd in enumerate(seen.by_hour.values) if usd is not None}
    assert set(known) == set(range(10, 17))
    assert all(usd == pytest.approx(0.15, rel=0.05) for usd in known.values())
    assert seen.windows == 40


def test_without_velocity_there_is_no_normal_and_still_a_sketch() -> None:
    (finding,) = told([spend(0, 50.0)], core(velocity={"enabled": False}, mix={"enabled": False}))
    assert finding.sketch is not None
    assert (finding.sketch.by_hour.counts, finding.sketch.peak_1m) == ((), 0.0)
    assert near(finding.sketch.minutes, [0.0] * 59 + [50.0])


def test_every_finding_has_one_and_it_is_small() -> None:
    for seed in range(4):
        for finding in run(new_core(), [history(seed, 1200)]):
            assert finding.sketch is not None
            assert len(finding.sketch.to_bytes()) < 1500
            assert len(finding.to_bytes()) < 4000


def test_the_largest_sketch_is_still_small() -> None:
    full = Scaled(unit=0.001234, counts=(998,) * 60)
    largest = Sketch(
        at_ms=1_795_428_000_000, minutes=full, tens=Scaled(unit=0.001234, counts=(998,) * TENS),
        by_hour=Scaled(unit=0.001234, counts=(998,) * 24), peak_1m=123400.0, peak_10m=123400.0, windows=99999,
        changed=("a" * 54,) * 6,
    )  # fmt: skip
    assert len(largest.to_bytes()) < 1500


def test_it_is_the_same_after_a_restart() -> None:
    past = [spend(600 * block + 7 * block, 0.3 + block % 3) for block in range(30)]
    before, after = past[:20], [*past[20:], spend(600 * 31, 50.0, network="203.0.113.0/24", user_agent="curl/8")]
    whole = told([*past, after[-1]])
    first, second = core(), core()
    rows = [{**event, "at": number} for number, event in enumerate([*before, *after])]
    first.process(frame(rows[:20]))
    shard = shard_of("k1", first.shards)
    second.import_cohorts(first.export_cohorts())
    second.import_shard(shard, first.export_shard(shard))
    again = second.process(frame(rows[20:])) + second.advance(second.clock_s + 1)
    assert [finding.to_bytes() for finding in again] == [finding.to_bytes() for finding in whole][-len(again) :]
    assert again


def test_a_key_from_an_older_checkpoint_has_an_unknown_past() -> None:
    table = KeyTable(FIELDS)
    table.grow_to(1)
    assert np.isnan(decoded(table.columns["sk_spend"][0])).all()


@given(st.lists(st.floats(1e-5, 1e5), min_size=1, max_size=20))
def test_steps_are_true_to_a_twentieth(spent: list[float]) -> None:
    usd = np.array(spent)
    assert (np.abs(decoded(codes(usd)) / usd - 1) < 0.05).all()


@given(st.floats(0, 1e300))
def test_any_amount_has_a_step(usd: float) -> None:
    assert 0 <= decoded(codes(np.array([usd])))[0] <= 1.0001e5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 3)), min_size=1, max_size=30), st.data())
def test_the_ring_holds_what_was_spent_in_each_block(uses: list[tuple[int, float]], data: st.DataObject) -> None:
    events = sorted((block * 600 + data.draw(st.integers(0, 599)), round(usd, 6)) for block, usd in uses)
    last = events[-1][0] // 600 + 1
    seen = drawn([*(spend(at, usd) for at, usd in events), spend(last * 600, 50.0)])
    first = max(events[0][0] // 600, last - TENS + 1)
    by_block = [sum(usd for at, usd in events if at // 600 == block) / 10 for block in range(first, last)]
    assert near(seen.tens, [*by_block, 50.0])


def test_it_costs_less_than_two_hundred_bytes() -> None:
    assert KeyTable(module.FIELDS).row_bytes <= 200
