"""A candidate beside the detectors in force: it says what it would say alone, to its own topic, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.config.wiring import StateConfig
from schemas.frame import encode_frame
from schemas.records import TRIAL, AuditRow, Finding
from streams.acks import Arrived
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.score import ScoreStage
from streams.shadow import Shadow, version_of
from streams.topics import Topic, Topics
from tests.detectors.history import SETTINGS, cut, forbid, history
from tests.streams.world import T0, MemoryOutbox, MemoryShards

FRAMES = [encode_frame(one) for one in cut(history(9, 550), list(range(50, 550, 50)))]


def changed(**sections: dict[str, Any]) -> DetectorsConfig:
    data = SETTINGS.model_dump(exclude_unset=True)
    return DetectorsConfig.model_validate(data | {name: data.get(name, {}) | new for name, new in sections.items()})


TOUCHY = changed(velocity={"alarm_per_key_week": 300.0})
FORGETFUL = changed(velocity={"decay_per_10min": 0.95})


class Life:
    """One worker's score stage, with or without something on trial."""

    def __init__(
        self, settings: DetectorsConfig, shadow: DetectorsConfig | None, *, store: MemoryShards | None = None
    ) -> None:
        self.outbox, self.metrics, self.on_trial, self.acked = MemoryOutbox(), Metrics(), shadow, -1
        self.stage = ScoreStage(
            new_core=lambda partition: self.core(settings, partition), store=store or MemoryShards(),
            outbox=self.outbox, topics=Topics(), metrics=self.metrics, progress=StageProgress("score", 0),
            settings=StateConfig(shards=4, rotation_s=4),
            shadow=Shadow(
                settings=lambda: self.on_trial, new_core=lambda partition, given: self.core(given, partition),
                outbox=self.outbox,
                metrics=self.metrics,
            ),
        )  # fmt: skip

    def core(self, settings: DetectorsConfig, partition: int) -> ScoreCore:
        return ScoreCore(settings, partition=partition, shards=4, forbidden=forbid)

    async def take(self, first: int = 0, last: int = len(FRAMES), *, partition: int = 0) -> None:
        for offset in range(first, last):
            arrived = Arrived("frames", partition, offset, FRAMES[offset], lambda offset=offset: self._ack(offset))  # type: ignore[misc]
            await self.stage.on_frame(arrived, now_s=offset * 0.5, now_ms=T0)

    async def silence(self) -> None:
        for second in range(100, 106):
            await self.stage.tick(now_s=float(second), now_ms=T0)

    def _ack(self, offset: int) -> None:
        self.acked = max(self.acked, offset)

    def said(self, topic: Topic) -> list[Finding]:
        return [record for record in self.outbox.of(topic) if isinstance(record, Finding)]


async def alone(settings: DetectorsConfig) -> list[Finding]:
    life = Life(settings, None)
    await life.take()
    await life.silence()
    assert life.said(Topic.SHADOW) == []
    return life.said(Topic.FINDINGS)


@pytest.mark.parametrize("candidate", [TOUCHY, FORGETFUL], ids=["judges otherwise", "learns otherwise"])
async def test_the_candidate_says_what_it_would_say_alone_and_the_live_one_too(candidate: DetectorsConfig) -> None:
    life = Life(SETTINGS, candidate)
    await life.take()
    await life.silence()

    assert life.said(Topic.SHADOW) == await alone(candidate)
    assert life.said(Topic.FINDINGS) == await alone(SETTINGS) != life.said(Topic.SHADOW)


@pytest.mark.parametrize("candidate", [TOUCHY, FORGETFUL])
async def test_a_candidate_that_comes_later_is_heard_from_then_on(candidate: DetectorsConfig) -> None:
    life = Life(SETTINGS, None)
    await life.take(0, 6)
    before = life.stage.cores()[0].clock_s
    life.on_trial = candidate
    life.stage.reconfigure(SETTINGS)
    await life.take(6)

    heard = life.said(Topic.SHADOW)
    assert heard
    assert min(finding.at_ms for finding in heard) >= before * 1000
    assert life.said(Topic.FINDINGS)[: 10**6] == [f for f in await alone(SETTINGS) if f in life.said(Topic.FINDINGS)]


async def test_a_candidate_that_is_taken_away_is_silent() -> None:
    life = Life(SETTINGS, TOUCHY)
    await life.take(0, 5)
    heard = len(life.said(Topic.SHADOW))
    life.on_trial = None
    life.stage.reconfigure(SETTINGS)
    await life.take(5)

    assert heard > 0
    assert len(life.said(Topic.SHADOW)) == heard
    assert life.stage.cores()[0].observers == []


async def test_the_audit_says_once_from_when_it_was_heard_and_what_differs() -> None:
    life = Life(SETTINGS, TOUCHY)
    await life.take()

    [row] = [row for row in life.outbox.of(Topic.AUDIT) if isinstance(row, AuditRow)]
    assert (row.action, row.result) == (TRIAL, version_of(TOUCHY))
    assert row.at_ms <= life.said(Topic.SHADOW)[0].at_ms
    assert row.detail == {"changes": {"velocity.alarm_per_key_week": [30.0, 300.0]}}


async def test_partitions_whose_clocks_differ_are_compared_from_the_newest_on() -> None:
    life = Life(SETTINGS, None)
    await life.take(0, 8)
    await life.take(0, 3, partition=1)
    ahead, behind = (core.clock_s for core in life.stage.cores())
    life.on_trial = TOUCHY
    life.stage.reconfigure(SETTINGS)
    await life.take(3, 4, partition=1)

    [row] = [row for row in life.outbox.of(Topic.AUDIT) if isinstance(row, AuditRow)]
    assert row.at_ms == ahead * 1000 > behind * 1000


async def test_what_a_candidate_has_learned_outlives_another_change_of_the_folder() -> None:
    life = Life(SETTINGS, FORGETFUL)
    await life.take(0, 6)
    life.stage.reconfigure(changed(limits={"usd_per_min": 0.01}))
    await life.take(6)
    await life.silence()

    assert life.said(Topic.SHADOW) == await alone(FORGETFUL)


async def test_what_the_candidate_says_has_a_metric_of_its_own() -> None:
    life = Life(SETTINGS, TOUCHY)
    await life.take()

    count = sum(finding.family == "velocity" for finding in life.said(Topic.SHADOW))
    assert f'keyfuse_shadow_findings_total{{family="velocity"}} {count}.0'.encode() in life.metrics.render()
    live = sum(f.family == "velocity" and f.severity == "critical" for f in life.said(Topic.FINDINGS))
    assert f'keyfuse_findings_total{{family="velocity",severity="critical"}} {live}.0'.encode() in life.metrics.render()


@pytest.mark.parametrize("candidate", [TOUCHY, FORGETFUL])
async def test_after_a_crash_the_live_one_is_exact_and_the_candidate_goes_on(candidate: DetectorsConfig) -> None:
    store = MemoryShards()
    first = Life(SETTINGS, candidate, store=store)
    await first.take(0, 8)
    second = Life(SETTINGS, candidate, store=store)
    await second.take(first.acked + 1)
    await second.silence()

    told = {f.finding_id for life in (first, second) for f in life.said(Topic.FINDINGS)}
    assert told == {f.finding_id for f in await alone(SETTINGS)}
    assert second.said(Topic.SHADOW)


async def test_reloaded_settings_hold_in_running_cores() -> None:
    life = Life(changed(limits={"usd_per_min": None, "usd_per_hour": None}), None)
    await life.take(0, 6)
    assert not [f for f in life.said(Topic.FINDINGS) if f.detector == "usd_per_min"]
    life.stage.reconfigure(changed(limits={"usd_per_min": 0.01}))
    await life.take(6)

    assert [f for f in life.said(Topic.FINDINGS) if f.detector == "usd_per_min"]
