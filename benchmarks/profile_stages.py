"""Where the processor time of an event goes, from a raw record in Kafka to its findings.

    python -m benchmarks.profile_stages

Writes benchmarks/results/stages.json; `python -m benchmarks.table` puts it into the page.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from benchmarks import end_to_end, table
from benchmarks.broker import running_broker
from benchmarks.machine import machine


def measure() -> dict[str, Any]:
    """Microseconds of processor time for an event, by stage: the middle one of three runs of a worker."""
    sizes = end_to_end.Sizes()
    with running_broker() as broker:
        full = asyncio.run(end_to_end.full_topic(broker, "bench.single", sizes.events, per_record=1))
        prefixes = [f"stages-{number}." for number in range(sizes.repetitions)]
        runs = [end_to_end.worker(broker, full, prefix, more=["--stages"]) for prefix in prefixes]
    middle = sorted(runs, key=lambda run: run["cpu_s"] / run["events"])[len(runs) // 2]
    us = {stage: round(ns / 1000 / middle["events"], 3) for stage, ns in middle["stage_ns"].items()}
    total_us = middle["cpu_s"] * 1e6 / middle["events"]
    return {
        "us_per_event": us | {"rest": round(total_us - sum(us.values()), 3)},
        "total_us_per_event": round(total_us, 3),
        "events": middle["events"],
        "seconds": round(middle["seconds"], 2),
        "machine": machine(),
    }


def main() -> None:
    (table.RESULTS / "stages.json").write_text(json.dumps(measure(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
