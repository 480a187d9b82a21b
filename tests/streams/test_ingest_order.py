"""Later rows never get ahead of earlier ones: sent again, those would pass for known, and be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from schemas.frame import decode_frame
from service.config_tree import Folder
from service.install import Install
from streams import ingest
from streams.health import StageProgress
from streams.ingest import IngestLoop
from streams.metrics import Metrics
from streams.topics import Topics
from tests.integration.uses import T0_MS, ndjson, use

RAW = TopicPartition("usage.raw", 0)


@dataclass
class Broker:
    """Hands out `batches`, and takes frames; those numbered in `lost` time out."""

    batches: list[Sequence[Any]]
    lost: frozenset[int] = frozenset()
    taken: list[list[int]] = field(default_factory=list)  # raw offsets, by frame
    commits: list[int] = field(default_factory=list)
    sends: int = 0
    unanswered: int = 0
    most_unanswered: int = 0
    _looks_again: bool = False
    rebalance: bool = False  # once, when the position is asked for after the first batch
    asked: int = 0
    _fetcher: Any = field(
        default_factory=lambda: SimpleNamespace(_records={})
    )  # aiokafka's own, which holds nothing here

    def subscribe(self, topics: Sequence[str], listener: IngestLoop) -> None:
        self._loop = listener

    def assignment(self) -> set[TopicPartition]:
        return {RAW}

    async def committed(self, tp: TopicPartition) -> int:
        return 0

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def highwater(self, tp: TopicPartition) -> int:
        return 0

    async def position(self, tp: TopicPartition) -> int:
        if self.rebalance and self.asked:
            self.rebalance = False
            await self._loop.on_partitions_revoked([RAW])
        return 0

    async def getmany(self, *tps: TopicPartition, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self._looks_again = not self._looks_again
        if not self._looks_again:
            return await self.since()
        if not self.batches:
            self._loop.stop()
            return {}
        self.asked += 1
        return {RAW: list(self.batches.pop(0))}

    async def since(self) -> dict[TopicPartition, list[Any]]:
        """What came while a batch was taken."""
        return {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets[RAW])

    async def send(self, topic: str, value: bytes, *, partition: int = 0) -> asyncio.Future[object]:
        self.sends, self.unanswered = self.sends + 1, self.unanswered + 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        return asyncio.ensure_future(self._answer(self.sends - 1, value))

    async def _answer(self, number: int, value: bytes) -> object:
        await asyncio.sleep(0)
        self.unanswered -= 1
        if number in self.lost:
            raise KafkaTimeoutError
        self.taken.append(decode_frame(value)["raw_offset"].to_pylist())
        return None


def record(offset: int, *, events: int = 1) -> Any:
    value = ndjson([use(f"{offset}-{n}", "key", T0_MS) for n in range(events)])
    return ConsumerRecord("usage.raw", 0, offset, 0, 0, None, value, None, 0, len(value), ())


def loop_on(broker: Broker) -> IngestLoop:
    parser = Install(Folder(), Path("nowhere"), {"KEYFUSE_PEPPER": "pepper of the tests"}).parser(max_future_s=30)
    return IngestLoop(
        broker, broker, parser, Topics(partitions=1), metrics=Metrics(), progress=StageProgress("ingest", 0),
        now_ms=lambda: T0_MS + 10**6, now_s=lambda: 0.0, stop_ratio=0.5,
    )  # fmt: skip


async def test_each_batch_is_taken_before_the_next_one_is_sent() -> None:
    broker = Broker([[record(0)], [record(1)], [record(2)]])
    await loop_on(broker).run()
    assert broker.taken == [[0], [1], [2]]
    assert broker.commits == [1, 2, 3]
    assert broker.most_unanswered == 1


async def test_when_a_batch_is_not_taken_nothing_behind_it_is_sent() -> None:
    broker = Broker([[record(0)], [record(1)]], lost=frozenset({0}))
    with pytest.raises(KafkaTimeoutError):
        await loop_on(broker).run()
    assert (broker.sends, broker.taken, broker.commits) == (1, [], [])


async def test_within_a_batch_the_second_frame_of_a_partition_waits_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "ROWS_PER_FRAME", 2)
    broker = Broker([[record(0, events=5)]], lost=frozenset({1}))
    with pytest.raises(KafkaTimeoutError):
        await loop_on(broker).run()
    assert (broker.sends, broker.taken) == (2, [[0, 0]])


async def test_what_was_read_before_a_rebalance_is_not_sent_after_it() -> None:
    """It comes again from the commit on; sent first it would make what lies between look known."""
    broker = Broker([[record(5)], [record(0)]], rebalance=True)
    await loop_on(broker).run()
    assert broker.taken == [[0]]


async def test_nor_what_was_read_on_both_sides_of_one() -> None:
    class Between(Broker):
        async def since(self) -> dict[TopicPartition, list[Any]]:
            if self.asked > 1:
                return {}
            await self._loop.on_partitions_revoked([RAW])
            return {RAW: [record(0)]}

    broker = Between([[record(5)], [record(0)]])
    await loop_on(broker).run()
    assert broker.taken == [[0]]
