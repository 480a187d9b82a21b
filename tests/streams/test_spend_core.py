"""Sums of spend: each row counts once, in its own five minutes, through replays, retries, late events and crashes."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.placement import Placement, shard_of
from schemas.frame import FRAME_SCHEMA
from schemas.spend import SLOT_S, SpendSum, SpendSums
from streams.checkpoint import Checkpoint
from streams.spend_core import SpendCore
from tests.streams.world import T0

SHARDS = 3
Row = tuple[int, int, int, int]  # key, seconds after T0, cost, number of its event
Ledger = dict[tuple[int, str, str], tuple[int, int, int]]

LATE_S = st.sampled_from([0, 0, 0, 0, 30, 400, 5000])
GIVEN = st.lists(
    st.tuples(st.integers(0, 6), LATE_S, st.integers(1, 10**12), st.integers(0, 60)), min_size=4, max_size=60
)


def dated(given: list[Row]) -> list[Row]:
    """One each 97 seconds, so that five minutes are a few frames; some are late."""
    return [(key, 97 * number - late_s, cost, event) for number, (key, late_s, cost, event) in enumerate(given)]


def frame(rows: Iterable[tuple[int, Row]]) -> pa.RecordBatch:
    """Rows with their raw offsets; a number of an event is its id, so that equal ones are a retry."""
    docs = [
        {
            "raw_partition": 0, "raw_offset": offset, "raw_index": 0, "event_hash": event, "event_id": str(event),
            "ts_ms": T0 + second * 1000, "key_id": f"k{key}", "provider": "openai", "model": "m", "requests": 1,
            "input_tokens": 3, "cached_input_tokens": 2, "cache_write_tokens": 1, "output_tokens": 4,
            "reasoning_tokens": 1, "cost_nano_usd": cost, "priced": True, "status": 200, "latency_ms": 1.0, "asn": 1,
            "team": None if key == 0 else f"t{key % 2}",
        }
        for offset, (key, second, cost, event) in rows
    ]  # fmt: skip
    columns = [
        pa.array([doc.get(field.name) for doc in docs], field.type.value_type).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array([doc.get(field.name) for doc in docs], field.type)
        for field in FRAME_SCHEMA
    ]
    return pa.record_batch(columns, schema=FRAME_SCHEMA)


class Desk:
    """Whoever sums: the greatest of each name, of each partition's newest part alone; what is older is final."""

    def __init__(self) -> None:
        self._part, self._open = -1, dict[tuple[object, ...], SpendSum]()
        self.sums: Ledger = defaultdict(lambda: (0, 0, 0))

    def hear(self, sums: Iterable[SpendSum]) -> None:
        for one in (
            SpendSum(*each) for each in SpendSums.from_bytes(SpendSums(partition=0, sums=tuple(sums)).to_bytes()).sums
        ):
            if one.part > self._part:
                self._part, self._open = one.part, {}
            had = self._open.get(one[:6])
            if one.part < self._part or (
                had is not None and all(a >= b for a, b in zip(had[6:9], one[6:9], strict=True))
            ):
                continue
            self._open[one[:6]] = one
            before = had[6:9] if had else (0, 0, 0)
            name = (one.slot, one.key_id, one.team)
            grown = [now - then for now, then in zip(one[6:9], before, strict=True)]
            self.sums[name] = tuple(a + b for a, b in zip(self.sums[name], grown, strict=True))  # type: ignore[assignment]


def tell(core: SpendCore, desk: Desk, *, crash_after: int = 2) -> None:
    grown = core.grown()
    for sums in (grown.final, grown.open)[:crash_after]:
        desk.hear(sums)
    if crash_after >= 2:
        core.told(grown)


def expected(rows: list[Row]) -> Ledger:
    """Each event once, in its own five minutes. All retries here come within the time that they are known for."""
    seen: dict[int, set[int]] = defaultdict(set)
    sums: Ledger = defaultdict(lambda: (0, 0, 0))
    probe = SpendCore(shards=SHARDS, dedup_s=100_000_000)
    for key, second, cost, event in rows:
        if event in seen[probe._shard(f"k{key}")]:
            continue
        seen[probe._shard(f"k{key}")].add(event)
        name = ((T0 // 1000 + second) // SLOT_S, f"k{key}", "unknown" if key == 0 else f"t{key % 2}")
        requests, tokens, spent = sums[name]
        sums[name] = (requests + 1, tokens + 7, spent + cost)
    return sums


@settings(deadline=None, max_examples=150)
@given(
    given=GIVEN,
    cuts=st.lists(st.integers(1, 4), min_size=5),
    lives=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=6),
)
def test_the_sums_are_those_of_the_rows_whatever_crashes(
    given: list[Row], cuts: list[int], lives: list[tuple[int, int, int]]
) -> None:
    """Frames come again, also such that the ingest wrote twice; shards are written in rotation; a telling breaks."""
    rows = dated(given)
    log, at = [], 0
    numbered = list(enumerate(rows))
    for cut in [*cuts, *[3] * 60]:
        if at < len(numbered):
            log.append(frame(numbered[at : at + cut]))
            if cut % 3 == 0:  # the ingest crashed: the same rows again
                log.append(frame(numbered[max(0, at - 2) : at + cut]))
        at += cut
    desk, store, acked, clocks = Desk(), dict[int, bytes](), 0, {-1: 0}
    for breaks, written, frames in [*lives, (9, 9, len(log))]:
        core, checkpoint = SpendCore(shards=SHARDS, dedup_s=100_000_000), Checkpoint()
        for shard, data in store.items():
            core.import_shard(shard, data)
        resume, core.clock_s = acked, clocks[acked - 1]
        for offset in range(resume, len(log)):
            core.count(log[offset])
            clocks[offset] = core.clock_s
            checkpoint.folded(offset, dirty=core.dirty_shards())
            last = offset == resume + frames
            tell(core, desk, crash_after=breaks if last else 2)
            checkpoint.touched(dirty=core.dirty_shards())
            if offset % 4 != written % 4 and (dirty := core.dirty_shards()):
                store[dirty[0]] = core.export_shard(dirty[0])
                checkpoint.written(dirty[0])
            acked = max(acked, checkpoint.ackable() + 1)
            if last:
                break
        else:
            tell(core, desk)
    assert {name: sums for name, sums in desk.sums.items() if sums != (0, 0, 0)} == {
        name: sums for name, sums in expected(rows).items() if sums != (0, 0, 0)
    }


def test_what_is_told_and_over_is_forgotten() -> None:
    core, desk = SpendCore(shards=1, dedup_s=900), Desk()
    for minute in range(0, 600, 5):  # ten hours of ten thousand keys, each used once
        core.count(frame((minute * 100 + key, (key, minute * 60, 1, minute * 100 + key)) for key in range(100)))
        tell(core, desk)
    assert core.remembered == 100
    assert sum(sums[0] for sums in desk.sums.values()) == 12_000


def test_a_late_event_counts_in_its_own_five_minutes() -> None:
    core, desk = SpendCore(shards=1, dedup_s=900), Desk()
    for offset, second in enumerate((0, 86_400, 5, 86_401, 6)):
        core.count(frame([(offset, (1, second, 10, offset))]))
        tell(core, desk)
    day = T0 // 1000 // SLOT_S
    assert {name[0] - day: sums[2] for name, sums in desk.sums.items()} == {0: 30, 288: 20}


def test_a_retry_counts_once_and_a_replay_once() -> None:
    core = SpendCore(shards=1, dedup_s=900)
    first = frame([(0, (1, 0, 5, 77)), (1, (1, 1, 5, 77)), (2, (1, 2, 5, 78))])
    assert core.count(first).tolist() == [True, False, True]
    assert core.count(first).tolist() == [False, False, False]
    assert core.count(frame([(3, (1, 500, 5, 78)), (4, (1, 4000, 5, 78))])).tolist() == [False, True]


def test_labels_and_tokens_are_those_of_the_rows() -> None:
    core = SpendCore(shards=1, dedup_s=900)
    core.count(frame([(0, (0, 0, 5, 1)), (1, (1, 0, 5, 2)), (2, (2, 0, 5, 3))]))
    [*sums] = core.grown().open
    assert [(one.key_id, one.team, one.app, one.tokens) for one in sums] == [
        ("k0", "unknown", "unknown", 7), ("k1", "t1", "unknown", 7), ("k2", "t0", "unknown", 7),
    ]  # fmt: skip


def test_an_empty_frame_is_nothing() -> None:
    core = SpendCore(shards=1, dedup_s=900)
    assert core.count(frame([])).tolist() == []
    assert core.grown() == ([], [])


@pytest.mark.parametrize("data", [b"", b"xx", SpendCore(shards=2, dedup_s=900).export_shard(1)])
def test_state_of_another_shard_or_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="state of"):
        SpendCore(shards=3, dedup_s=900).import_shard(1, data)


def written_before(shard: int, *, shards: int) -> bytes:
    """An empty shard, as builds wrote it whose partitions and shards were chosen by one hash."""
    state = {"version": 1, "shard": shard, "shards": shards, "covered": [-1], "retries": [[0, 0], [], []], "sums": []}
    return zlib.compress(orjson.dumps(state), 1)


def test_state_of_before_goes_on_as_its_keys_are_placed_and_counts_nothing_twice() -> None:
    rows = list(enumerate(dated([(number % 40, 0, 5, number) for number in range(200)])))
    first = SpendCore(shards=4, dedup_s=900)
    first.import_shard(0, written_before(0, shards=4))
    first.count(frame(rows[:100]))
    shards = [first.export_shard(shard) for shard in range(4)]

    second = SpendCore(shards=4, dedup_s=900)
    for shard, data in enumerate(shards):
        second.import_shard(shard, data)
    second.clock_s = first.clock_s
    assert np.flatnonzero(second.count(frame(rows))).tolist() == list(range(100, 200))

    states = [orjson.loads(zlib.decompress(second.export_shard(shard))) for shard in range(4)]
    assert {state["version"] for state in states} == {1}
    assert {
        (state["shard"], shard_of(one[2], 4, Placement.LIKE_PARTITIONS)) for state in states for one in state["sums"]
    } == {(shard, shard) for shard in range(4)}


def test_new_state_is_of_a_version_that_builds_of_before_refuse_and_does_not_mix_with_theirs() -> None:
    core = SpendCore(shards=4, dedup_s=900)
    core.count(frame(enumerate(dated([(key, 0, 5, key) for key in range(40)]))))
    data = core.export_shard(0)
    assert orjson.loads(zlib.decompress(data))["version"] == 2
    mixed = SpendCore(shards=4, dedup_s=900)
    mixed.import_shard(0, data)
    with pytest.raises(ValueError, match="placed in two ways"):
        mixed.import_shard(1, written_before(1, shards=4))


def test_sums_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="not compressed"):
        SpendSums.from_bytes(b"{}")
    assert np.iinfo(np.int64).max > 10**18
