"""Of `benchmarks.growth`: the scoring path in a process that knows many keys, of which few are in use."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.scoring_path import frames_of, run
from benchmarks.workload import Workload
from detectors.core import ScoreCore
from schemas.config.detectors import DetectorsConfig


def measure(known: int, active: int, turns: int) -> dict[str, Any]:
    """All keys are used once; an hour later the first `active` of them are used, `turns` times 200,000 events."""
    core = ScoreCore(DetectorsConfig(), partition=0)
    once, before = Workload(known, keys=known, in_turn=True, stolen=False), _rss_bytes()
    run(core, frames_of(once, 0))
    assert core.known_keys == known
    held = _rss_bytes() - before
    busy = Workload(200_000, keys=active, stolen=False)
    per_cpu_s = []
    for turn in range(turns + 1):  # the first one warms up
        start = busy.start + timedelta(hours=1 + turn)
        frames = frames_of(replace(busy, start=start, seed=busy.seed + turn), 10_000_000 * (turn + 1))
        core.advance(int(start.timestamp()))  # what a block's end costs comes once in ten minutes and stands elsewhere
        per_cpu_s.append(busy.events / run(core, frames)[1])
    return {"per_cpu_s": per_cpu_s[1:], "rss_bytes": held}


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--known", type=int, required=True)
    parser.add_argument("--active", type=int, required=True)
    parser.add_argument("--turns", type=int, required=True)
    asked = parser.parse_args()
    print(json.dumps(measure(asked.known, asked.active, asked.turns)))


if __name__ == "__main__":
    main()
