"""A loop that fails starts again: for ever where the broker is away, a few times where it fails by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka.errors import KafkaConnectionError

from service.keep_running import keep_running
from streams.errors import PoisonedInput
from streams.health import StageProgress
from streams.metrics import Metrics


@dataclass
class Loop:
    """Runs `each_s` and fails as told, one after another; then it returns."""

    fails: Sequence[Exception]
    each_s: float = 0.0
    now_s: float = 0.0
    began: int = 0
    pauses_s: list[float] = field(default_factory=list)
    progress: StageProgress = field(default_factory=lambda: StageProgress("score", 0.0))

    async def run(self) -> None:
        self.now_s, self.began = self.now_s + self.each_s, self.began + 1
        if self.began <= len(self.fails):
            raise self.fails[self.began - 1]

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.pauses_s.append(seconds)

    async def kept(self) -> str:
        """What its health says at the end."""
        await keep_running(
            "score", self.run, progress=self.progress, metrics=Metrics(), now_s=lambda: self.now_s, sleep=self.sleep
        )
        return self.progress.failed


async def test_a_broker_that_is_away_for_long_ends_no_loop() -> None:
    loop = Loop([KafkaConnectionError("nobody there")] * 9)
    assert await loop.kept() == ""
    assert loop.began == 10
    assert loop.pauses_s == [1, 2, 4, 8] + [16] * 5


async def test_a_loop_that_fails_by_itself_stops_after_five_times() -> None:
    loop = Loop([ValueError("ours")] * 9)
    assert await loop.kept() == "failed 5 times; see the log"
    assert loop.began == 5


async def test_failures_of_another_hour_do_not_count() -> None:
    loop = Loop([ValueError("ours")] * 9, each_s=3600)
    assert await loop.kept() == ""
    assert loop.pauses_s == [1] * 9


async def test_poisoned_input_stops_it_at_once() -> None:
    loop = Loop([PoisonedInput("most are bad")] * 2)
    assert await loop.kept() == "most are bad"
    assert loop.began == 1


@pytest.mark.parametrize("error", [ValueError("ours"), KafkaConnectionError("away")])
async def test_while_it_pauses_its_health_says_why(error: Exception) -> None:
    told: list[str] = []
    loop = Loop([error])

    async def look(seconds: float) -> None:
        told.append(loop.progress.failed)

    await keep_running("score", loop.run, progress=loop.progress, metrics=Metrics(), now_s=lambda: 0.0, sleep=look)
    assert told == [f"{type(error).__name__}: {error}"]
