"""Keys are spread over the shards of their partition; a state goes on as its keys were placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import codec
from detectors.core import ScoreCore
from detectors.placement import Placement, shard_of
from schemas.partition import partition_of
from tests.detectors.history import Store, cut, everything, history, new_core, run


def per_shard(keys: Iterable[str], *, partitions: int, shards: int, placement: Placement) -> list[Counter[int]]:
    """How many keys each shard has, by partition."""
    counts = [Counter[int]() for _ in range(partitions)]
    for key in keys:
        counts[partition_of(key, partitions)][shard_of(key, shards, placement)] += 1
    return counts


@pytest.mark.parametrize("names", ["fp1:{:032x}", "sk-team-{}"])
@pytest.mark.parametrize(("partitions", "shards"), [(1, 16), (4, 16), (12, 16), (16, 16), (4, 24), (64, 4)])
def test_each_partition_spreads_its_keys_over_all_shards(names: str, partitions: int, shards: int) -> None:
    expected = 100
    keys = map(names.format, range(partitions * shards * expected))
    for counts in per_shard(keys, partitions=partitions, shards=shards, placement=Placement.OWN):
        assert len(counts) == shards
        assert 0.5 * expected < min(counts.values()) <= max(counts.values()) < 1.5 * expected


def test_placed_as_before_a_partition_of_four_used_four_of_its_shards() -> None:
    keys = [f"fp1:{number:032x}" for number in range(2000)]
    counts = per_shard(keys, partitions=4, shards=16, placement=Placement.LIKE_PARTITIONS)
    assert [len(each) for each in counts] == [4, 4, 4, 4]


@pytest.mark.parametrize(
    ("placement", "shards"), [(Placement.LIKE_PARTITIONS, [3, 1, 6]), (Placement.OWN, [11, 1, 13])]
)
def test_a_key_stays_where_it_is_for_ever(placement: Placement, shards: list[int]) -> None:
    keys = ["fp1:00", "fp1:0123456789abcdef0123456789abcdef", "key-é"]
    assert [shard_of(key, 16, placement) for key in keys] == shards


def placed(placement: Placement) -> ScoreCore:
    core = new_core()
    core.book.place_as(placement)
    return core


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_a_state_of_before_goes_on_without_loss_and_counts_nothing_twice(seed: int, data: st.DataObject) -> None:
    frames = cut(history(seed), [60, 130, 200, 270, 340])
    undisturbed, core, store = placed(Placement.LIKE_PARTITIONS), placed(Placement.LIKE_PARTITIONS), Store()
    expected = run(undisturbed, frames)
    told = []
    for number, one in enumerate(frames[:4], 1):
        told += core.process(one)
        store.clocks.append(core.clock_s)
        for shard in data.draw(st.lists(st.integers(0, 3), max_size=3)):
            store.write(core, shard, number)
    restored, start = store.restored(cohorts_first=data.draw(st.booleans()))
    if not store.shards:
        restored.book.place_as(Placement.LIKE_PARTITIONS)  # nothing was written: a new one would place anew
    told += run(restored, frames[start:])
    assert {finding.finding_id: finding for finding in told} == {f.finding_id: f for f in expected}
    assert everything(restored) == everything(undisturbed)


def test_where_a_key_is_kept_changes_nothing_that_is_known_of_it() -> None:
    rows = history(5)
    before, now = placed(Placement.LIKE_PARTITIONS), new_core()
    assert run(before, [rows]) == run(now, [rows])
    assert sorted(before.summary()) == sorted(now.summary())


@pytest.mark.parametrize(("placement", "version"), [(Placement.LIKE_PARTITIONS, b"KFS4"), (Placement.OWN, b"KFS5")])
def test_state_says_how_it_is_placed(placement: Placement, version: bytes) -> None:
    """A build that knows the first alone reads what it can and refuses the other."""
    core = placed(placement)
    run(core, [history(1)])
    assert {data[:4] for data in everything(core).values()} == {version}
    assert set(codec.MAGICS) == {b"KFS4", b"KFS5"}


@pytest.mark.parametrize("first", Placement)
def test_parts_that_are_placed_in_two_ways_are_refused(first: Placement) -> None:
    [second] = set(Placement) - {first}
    parts = {}
    for placement in Placement:
        core = placed(placement)
        run(core, [history(1)])
        parts[placement] = everything(core)
    restored = new_core()
    for shard in range(3):
        restored.import_shard(shard, parts[first][str(shard)])
    with pytest.raises(ValueError, match="placed in two ways"):
        restored.import_shard(3, parts[second]["3"])
    with pytest.raises(ValueError, match="placed in two ways"):
        restored.import_cohorts(parts[second]["cohorts"])
