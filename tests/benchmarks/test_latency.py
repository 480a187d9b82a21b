"""What the latency benchmark counts. No time is asserted here."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from benchmarks.latency.load import THIEF_USD, Load, partition_of, thief
from benchmarks.latency.run import figures, pace
from schemas.event import UsageEvent

PARTITIONS = 4


class _Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, key: None, value: bytes, timestamp: None) -> object:
        self.values.append(value)
        return object()

    def record_count(self) -> int:
        return len(self.values)


class _Producer:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def create_batch(self) -> _Batch:
        return _Batch()

    async def send_batch(self, batch: _Batch, _topic: str, *, partition: int) -> asyncio.Future[None]:
        self.sent += [(partition, value) for value in batch.values]
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


def _sent(seed: int) -> tuple[Load, list[tuple[int, dict[str, Any]]]]:
    producer: Any = _Producer()
    load = Load(producer, "raw", PARTITIONS, keys=20, seed=seed)
    asyncio.run(load.run(2000, 0.1, 50, first_thief=7))
    return load, [(partition, orjson.loads(value)) for partition, value in producer.sent]


def test_every_event_is_valid_and_in_the_partition_of_its_key() -> None:
    _, sent = _sent(1)
    assert len(sent) > 100
    for partition, event in sent:
        assert UsageEvent.model_validate(event).key_id == event["key_id"]
        assert partition == partition_of(event["key_id"], PARTITIONS)


def test_each_thief_calls_once_when_it_was_due() -> None:
    load, sent = _sent(1)
    thefts = {event["key_id"]: event["ts"] for _, event in sent if event.get("cost_usd") == THIEF_USD}
    assert set(thefts) == set(load.thefts) == {thief(7 + number) for number in range(5)}
    assert all(abs(load.thefts[key_id] * 1000 - ts) <= 1 for key_id, ts in thefts.items())


def test_no_two_runs_send_the_same_event() -> None:
    ids = [{event["event_id"] for _, event in _sent(seed)[1] if "cost_usd" not in event} for seed in (1, 2)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_latency_is_counted_from_when_a_theft_was_due() -> None:
    told = figures({"a": 10.0, "b": 20.0}, {"a": 10.2, "b": 20.4, "c": 0.0}, {"a": 10.25, "b": 20.45})
    assert told["event_to_finding_ms"]["p50"] == pytest.approx(300)
    assert told["finding_to_call_ms"]["max"] == pytest.approx(50)
    assert told["thefts"] == 2


def test_the_pace_is_how_far_into_what_is_due_the_findings_come_and_those_told_afterwards_say_nothing_of_it() -> None:
    due = {thief(number): 100 + number / 4 for number in range(40)}
    told = {key_id: 103 + (at_s - 100) / 0.8 for key_id, at_s in list(due.items())[:30]}
    assert pace(50_000, due, told) == pytest.approx(40_000)
