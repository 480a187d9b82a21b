"""A state of several records is as it was before or as it is after, wherever a crash comes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import Overtaken
from streams.snapshot import Snapshot
from tests.streams.world import MemoryShards

STATES = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abc"), st.binary(max_size=3), max_size=3), st.integers(0, 9)),
    min_size=1, max_size=8,
)  # fmt: skip


def read(store: MemoryShards) -> tuple[object, dict[str, bytes]]:
    snapshot = Snapshot(store)
    names = snapshot.head["names"] if snapshot.head else []
    return snapshot.head, {name: snapshot.part(name) for name in names}


@given(STATES)
async def test_a_crash_leaves_a_whole_state(states: list[tuple[dict[str, bytes], int]]) -> None:
    """Each save may die after some writes; the next process goes on from what is there."""
    store = MemoryShards()
    before: tuple[object, dict[str, bytes]] = (None, {})
    for number, (parts, dies_after) in enumerate(states):
        snapshot, head = Snapshot(store), {"number": number, "names": sorted(parts)}
        store.crash_after = dies_after
        with contextlib.suppress(ConnectionError):
            await snapshot.save(head, parts, keep=parts)
        store.crash_after = None
        now = read(store)
        assert now in (before, (head, parts))
        before = now


async def test_what_did_not_change_is_not_written_again() -> None:
    store = MemoryShards()
    snapshot = Snapshot(store)
    first = await snapshot.save({}, {"a": b"1" * 100, "b": b"2" * 100}, keep=())
    assert await snapshot.save({}, {"a": b"1" * 100}, keep=["b"]) < first - 150
    assert Snapshot(store).part("b") == b"2" * 100


async def test_what_is_not_kept_takes_no_room() -> None:
    store = MemoryShards()
    snapshot = Snapshot(store)
    await snapshot.save({}, {"a": b"1"}, keep=())
    await snapshot.save({}, {"b": b"2"}, keep=())
    assert {key: value for key, value in store.values.items() if key.startswith(b"a")} == {b"a#0": b"", b"a#1": b""}
    with pytest.raises(KeyError):
        Snapshot(store).part("a")


async def test_damage_is_seen() -> None:
    store = MemoryShards()
    await Snapshot(store).save({}, {"a": b"1"}, keep=())
    store.values[b"a#0"] = b"2"
    with pytest.raises(ValueError, match="part a of this state is damaged"):
        Snapshot(store).part("a")


async def test_who_has_lost_the_partition_writes_no_more() -> None:
    snapshot = Snapshot(MemoryShards())
    snapshot.given_up = True
    with pytest.raises(Overtaken):
        await snapshot.save({}, {"a": b"1"}, keep=())
