"""The worker of `benchmarks.recovery`: says in one JSON line how it came up, then waits to be killed."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any, Final

import structlog

from benchmarks.worker_process import install, reaches
from service.worker import Worker

_PAGE: Final = 4096


async def fill(worker: Worker, asked: argparse.Namespace) -> dict[str, Any]:
    """Take in every key, and wait until all of it is written and acknowledged."""
    before = _rss_bytes()
    await worker.start()
    await reaches(asked.events, lambda: worker.score.scored)
    known = sum(core.known_keys for core in worker.score.cores())
    per_key = round((_rss_bytes() - before) / known)
    while not _all_written(worker):  # noqa: ASYNC110 - of an acknowledgement there is no event
        await asyncio.sleep(0.1)
    return {"keys_known": known, "rss_bytes_per_key": per_key}


def _all_written(worker: Worker) -> bool:
    lag = sum(stage.lag_records for stage in worker.health.stages.values())
    return not lag and not any(core.dirty_shards() for core in worker.score.cores())


async def come_back(worker: Worker, asked: argparse.Namespace) -> dict[str, Any]:
    """Start, and score what is new."""
    imported_s = time.monotonic() - asked.began
    await worker.start()
    started_s = time.monotonic() - asked.began
    await reaches(asked.events, lambda: worker.score.scored)
    ready_s = time.monotonic() - asked.began
    known = sum(core.known_keys for core in worker.score.cores())
    assert known >= asked.keys, f"{known:,} of {asked.keys:,} keys came back"
    return {
        "ready_s": round(ready_s, 2), "python_s": round(imported_s, 2), "joined_s": round(started_s - imported_s, 2),
        "restored_s": round(ready_s - started_s, 2), "keys_known": known, "rss_mb": round(_rss_bytes() / 1e6),
    }  # fmt: skip


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


async def _live(asked: argparse.Namespace) -> None:
    asked.directory.mkdir(exist_ok=True)
    worker = Worker(install(asked.directory, asked), asked.bootstrap, roles=["ingest", "score"])
    print(json.dumps(await (fill if asked.fill else come_back)(worker, asked)), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--events", type=int, required=True, help="to score before it speaks")
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--began", type=float, required=True, help="the monotonic clock when it was started")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # what is measured is said on the other one
    )
    asyncio.run(_live(parser.parse_args()))


if __name__ == "__main__":
    main()
