"""A whole install on Apache Kafka, broken for a minute and a half in every way at once: what is left is exact.

`make chaos` breaks it for eleven minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.invariants import verdicts
from benchmarks.chaos.report import mistakes, table
from benchmarks.chaos.run import run
from benchmarks.chaos.schedule import QUICK, schedule
from benchmarks.chaos.traffic import made_up
from benchmarks.chaos.world import PARTITIONS
from tests.brokers import Broker
from tests.conftest import kafka_or_skip

SEED = 20260105
PATIENCE_S = 420.0
log = logging.getLogger(__name__)  # shown when it fails


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """One that may be killed."""
    with kafka_or_skip(tmp_path) as broker:
        yield broker


@pytest.mark.kafka
def test_whatever_fails_and_when_nothing_is_lost_made_up_or_done_twice(
    own_kafka: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="aiokafka")  # that the broker is away is known
    faults = schedule(SEED, QUICK)
    traffic = made_up(SEED, seconds=QUICK.seconds, thefts=QUICK.thefts, partitions=PARTITIONS)
    one = asyncio.run(run(
        own_kafka, tmp_path, SEED, size=QUICK, faults=faults, traffic=traffic, patience_s=PATIENCE_S,
        say=log.warning,
    ))  # fmt: skip
    found = verdicts(traffic, one.left, QUICK)
    log.warning(table(one.happened, found))
    assert mistakes(found, SEED, f"python -m benchmarks.chaos --quick --seed {SEED}") == []
