"""One Keyfuse worker in its own process: scores `--events` events of a topic that is full, prints how long it took.
With the role `ingest` alone it makes frames of them, and scores none.

    python -m benchmarks.worker_process --bootstrap HOST:PORT --raw TOPIC --prefix P. --events N --roles ingest,score

Measured from when the first batch has been parsed to when the last event has been scored; events parsed by then count
neither way. Start-up and group membership are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.stage_clock import StageClock
from service.config_folder import load_folder
from service.install import Install
from service.worker import Worker
from streams.topics import Topic, Topics

_LOOK_EVERY_S: Final = 0.005
_INGESTED: Final = "keyfuse_events_ingested_total"
_PEPPER: Final = {"KEYFUSE_PEPPER": "benchmark pepper, not secret"}


@dataclass(frozen=True)
class _TopicsOfOneRun(Topics):
    """A run's own topics but for the raw one, which all runs read."""

    raw: str = ""

    def name(self, topic: Topic) -> str:
        return self.raw if topic is Topic.RAW else super().name(topic)


class _InstallOfOneRun(Install):
    raw: str = ""

    @property
    def topics(self) -> Topics:
        usual = super().topics
        return _TopicsOfOneRun(usual.prefix, usual.partitions, self.raw)


def install(directory: Path, arguments: argparse.Namespace) -> Install:
    """Defaults but for the broker and the folders."""
    config = directory / "config"
    config.mkdir(exist_ok=True)
    (config / "keyfuse.yaml").write_text(
        f"data_dir: {directory}\n"
        f"kafka: {{bootstrap: '{arguments.bootstrap}', topic_prefix: {arguments.prefix}, "
        f"partitions: {arguments.partitions}}}\n"
        f"store: {{dsn: 'chdb://{directory}/store'}}\n"
    )
    made = _InstallOfOneRun(load_folder(config), config, environ=_PEPPER)
    made.raw = arguments.raw
    return made


def counted(worker: Worker, name: str, **labels: str) -> int:
    """A counter's value, over all label values that are not named."""
    total = 0.0
    for family in text_string_to_metric_families(worker.metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                total += sample.value
    return int(total)


async def reaches(wanted: int, count: Callable[[], int]) -> int:
    """The count once it is at least `wanted`: the worker tells nobody, so it is looked at."""
    while (now := count()) < wanted:  # noqa: ASYNC110 - counters have no event
        await asyncio.sleep(_LOOK_EVERY_S)
    return now


async def measure(worker: Worker, n_events: int, roles: list[str], clock: StageClock | None = None) -> dict[str, Any]:
    """Start, wait for the first batch and for the last event, stop."""
    await worker.start()
    try:
        before = await reaches(1, lambda: counted(worker, _INGESTED))
        started, cpu_started = time.perf_counter(), time.process_time()
        stages_before = Counter(clock.ns) if clock is not None else Counter()
        await reaches(n_events, lambda: worker.score.scored if "score" in roles else counted(worker, _INGESTED))
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
        stage_ns = clock.ns - stages_before if clock is not None else Counter()
        archived_s = 0.0
        if "archive" in roles:
            await reaches(n_events, lambda: counted(worker, "keyfuse_archive_rows_total"))
            archived_s = time.perf_counter() - started
        return {
            "events": n_events - before,
            "seconds": seconds,
            "cpu_s": cpu_s,
            "stage_ns": dict(stage_ns),
            "archived_s": archived_s,
            "scored": worker.score.scored if "score" in roles else 0,
            "frames": counted(worker, "keyfuse_frames_total"),
            "dead": counted(worker, "keyfuse_dead_letters_total"),
            "breaches_told": counted(worker, "keyfuse_findings_total", family="policy"),
            "findings": counted(worker, "keyfuse_findings_total"),
        }
    finally:
        await worker.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--roles", default="ingest,score")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--stages", action="store_true", help="also count processor time by stage")
    arguments = parser.parse_args()
    clock = StageClock() if arguments.stages else None
    if clock is not None:
        clock.install()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # what is measured is said on the other one
    )
    with tempfile.TemporaryDirectory() as directory:
        roles = arguments.roles.split(",")
        worker = Worker(install(Path(directory), arguments), arguments.bootstrap, roles=roles)
        print(json.dumps(asyncio.run(measure(worker, arguments.events, roles, clock))))


if __name__ == "__main__":
    main()
