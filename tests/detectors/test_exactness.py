"""What makes replays and crashes harmless: results depend on rows and their order alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.examples import NOW_S
from detectors.placement import shard_of
from schemas.records import Finding
from tests.detectors.build import frame
from tests.detectors.history import Store, cut, everything, history, new_core, run

CUTS = st.lists(st.integers(1, 399), max_size=25)


def test_the_histories_say_something_in_every_family() -> None:
    """Otherwise the properties below would compare silence with silence."""
    told = Counter(finding.family for seed in range(6) for finding in run(new_core(), [history(seed, 1200)]))

    assert set(told) == {"policy", "velocity", "mix", "origin", "economics", "rhythm", "errors", "cohort"}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), places=CUTS)
def test_frame_cuts_cannot_be_seen(seed: int, places: list[int]) -> None:
    rows = history(seed)
    whole, parts = new_core(), new_core()

    assert run(whole, [rows]) == run(parts, cut(rows, places))
    assert everything(whole) == everything(parts)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), places=CUTS)
def test_every_row_alone_equals_all_rows_at_once(seed: int, places: list[int]) -> None:
    rows = history(seed, 150)

    assert run(new_core(), [rows]) == run(new_core(), cut(rows, list(range(1, 150))))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), places=CUTS, data=st.data())
def test_a_crash_and_replay_change_nothing(seed: int, places: list[int], data: st.DataObject) -> None:
    frames = cut(history(seed), [*places, 100, 200, 300])
    undisturbed, core, store = new_core(), new_core(), Store()
    expected = run(undisturbed, frames)
    crash_after = data.draw(st.integers(1, len(frames)))
    told: list[Finding] = []
    for number, one in enumerate(frames[:crash_after], 1):
        told += core.process(one)
        store.clocks.append(core.clock_s)
        for shard in data.draw(st.lists(st.integers(0, 3), max_size=3)):
            store.write(core, shard, number)

    restored, start = store.restored(cohorts_first=data.draw(st.booleans()))
    told += run(restored, frames[start:])

    assert {finding.finding_id: finding for finding in told} == {f.finding_id: f for f in expected}
    assert everything(restored) == everything(undisturbed)


def test_frames_read_twice_count_once() -> None:
    rows = history(3)
    once, twice = new_core(), new_core()
    run(once, [rows])

    twice.process(rows)
    again = twice.process(rows)

    assert again == []
    twice.advance(twice.clock_s + 1)
    assert everything(once) == everything(twice)


def test_a_lost_idle_tick_loses_no_finding() -> None:
    """Ticks of the wall clock are not in the topic: rows after them must still be judged after a crash."""
    before = frame([{"at": n, "ts_s": NOW_S, "key_id": "k1"} for n in range(3)])
    after = frame([{"at": 9, "ts_s": NOW_S + 1, "key_id": "k1", "cost_usd": 50.0}])
    core, store = new_core(), Store()
    core.process(before)
    core.advance(NOW_S + 30)
    store.write(core, shard_of("k1", 4), 1)
    alive = core.process(after) + core.advance(NOW_S + 60)

    restored, _ = store.restored()
    replayed = restored.process(before) + restored.process(after) + restored.advance(NOW_S + 60)

    assert alive
    assert {f.finding_id for f in replayed} == {f.finding_id for f in alive}


@pytest.mark.parametrize("shard", [0, 3])
def test_a_shard_is_refused_in_the_place_of_another(shard: int) -> None:
    core = new_core()
    run(core, [history(1)])

    with pytest.raises(ValueError, match="this is shard"):
        new_core().import_shard(1, core.export_shard(shard))
