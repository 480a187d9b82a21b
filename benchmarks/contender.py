"""What whoever is compared in `benchmarks.end_to_end` is asked, and how it takes its time.

The standard library alone: `benchmarks.quix_job` runs with packages that are not ours.
"""

from __future__ import annotations

import argparse
import time
from typing import Any


def asked() -> argparse.ArgumentParser:
    """Which topic to read, as which consumer group, and how many events of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--raw", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--events", type=int, required=True)
    return parser


class Stopwatch:
    """Of the clock and of the processor: from the first event to the last."""

    def begin(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self._ended = time.perf_counter(), time.process_time()

    def measured(self, events: int) -> dict[str, Any]:
        """As the last line of a contender says it."""
        seconds, cpu_s = (end - begin for begin, end in zip(self._began, self._ended, strict=True))
        return {"events": events, "seconds": seconds, "cpu_s": cpu_s}
