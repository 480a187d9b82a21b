"""Of `benchmarks.growth`: several workers on one full topic, counted while all of them score."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple

import structlog

from benchmarks.worker_process import install
from service.worker import Worker

_SAY_EVERY_S: Final = 0.1
_QUIET_S: Final = 5.0


class Said(NamedTuple):
    """How far one worker is: a clock that all processes share, its events and processor time so far."""

    at_s: float
    scored: int
    cpu_s: float


def counted_together(bootstrap: str, topic: str, prefix: str, workers: int, events: int) -> dict[str, float]:
    """Events/s of all together, from when each has scored something until the first has nothing left."""
    said: list[list[Said]] = [[] for _ in range(workers)]
    given = ["--bootstrap", bootstrap, "--raw", topic, "--prefix", prefix]
    with ExitStack() as stack:
        for lines in said:
            process = stack.enter_context(subprocess.Popen(
                [sys.executable, "-m", "benchmarks.growth_workers", *given], stdout=subprocess.PIPE, text=True
            ))  # fmt: skip
            stack.callback(process.kill)
            Thread(target=_listen, args=(process, lines), daemon=True).start()
        while not _through(said, events):
            time.sleep(_SAY_EVERY_S)
    return figures(said)


def _listen(process: subprocess.Popen[str], lines: list[Said]) -> None:
    assert process.stdout is not None
    lines.extend(Said(*json.loads(line)) for line in process.stdout)


def _through(said: Sequence[Sequence[Said]], events: int) -> bool:
    """All is scored, and nobody has more to do."""
    if sum(lines[-1].scored for lines in said if lines) < events:
        return False
    return all(lines and lines[-1].at_s - _last_work_s(lines) > _QUIET_S for lines in said)


def _last_work_s(lines: Sequence[Said]) -> float:
    """When it last had scored something new."""
    return next((line.at_s for line in lines if line.scored == lines[-1].scored), 0.0)


def figures(said: Sequence[Sequence[Said]]) -> dict[str, float]:
    """Of the time in which all of them scored.

    >>> one = [Said(0, 0, 0), Said(1, 100, 1), Said(2, 200, 2), Said(3, 200, 2)]
    >>> figures([one, [Said(0.5, 0, 0), Said(1, 50, 0.5), Said(2, 150, 1.5), Said(3, 250, 2.5)]])
    {'events_per_s': 200.0, 'events_per_cpu_s': 100.0}
    """
    begin_s = max(next(line.at_s for line in lines if line.scored) for lines in said)
    end_s = min(_last_work_s(lines) for lines in said)
    begins = [next(line for line in lines if line.at_s >= begin_s) for lines in said]
    ends = [max((line for line in lines if line.at_s <= end_s), default=lines[-1]) for lines in said]
    scored = sum(end.scored - begin.scored for begin, end in zip(begins, ends, strict=True))
    cpu_s = sum(end.cpu_s - begin.cpu_s for begin, end in zip(begins, ends, strict=True))
    return {"events_per_s": scored / (end_s - begin_s), "events_per_cpu_s": scored / cpu_s}


async def _live(asked: argparse.Namespace, directory: Path) -> None:
    worker = Worker(install(directory, asked), asked.bootstrap, roles=["ingest", "score"])
    await worker.start()
    while True:
        print(json.dumps([time.monotonic(), worker.score.scored, time.process_time()]), flush=True)
        await asyncio.sleep(_SAY_EVERY_S)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--partitions", type=int, default=4)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),  # what is measured is said on the other one
    )
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_live(parser.parse_args(), Path(directory)))


if __name__ == "__main__":
    main()
