"""Breaks a whole install on Apache Kafka for minutes, and prints what is left and whether it is exact.

python -m benchmarks.chaos [--quick] [--seed N] [--schedule] [--keep DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.chaos.invariants import verdicts
from benchmarks.chaos.report import mistakes, table
from benchmarks.chaos.run import run
from benchmarks.chaos.schedule import FULL, QUICK, schedule, told
from benchmarks.chaos.traffic import made_up
from benchmarks.chaos.world import PARTITIONS
from benchmarks.machine import machine
from tests.brokers import NoKafkaError, running_kafka

_PATIENCE_S = 420.0


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--quick", action="store_true", help="three minutes instead of thirteen")
    asked.add_argument("--seed", type=int, default=1, help="what goes wrong and when, and what is sent")
    asked.add_argument("--schedule", action="store_true", help="only print what would go wrong")
    asked.add_argument("--keep", type=Path, help="leave logs and data in this new folder")
    args = asked.parse_args()
    size, seed = QUICK if args.quick else FULL, args.seed
    faults = schedule(seed, size)
    if args.schedule:
        print("\n".join(map(str, faults)))
        return 0
    traffic = made_up(seed, seconds=size.seconds, thefts=size.thefts, partitions=PARTITIONS)
    print(
        f"seed {seed}: {told(faults)}; {len(traffic.events):,} events in {len(traffic.records):,} records", flush=True
    )
    began_s = time.monotonic()

    def say(words: str) -> None:
        print(f"[{time.monotonic() - began_s:5.0f} s] {words}", flush=True)

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that the broker is away is known
    try:
        with tempfile.TemporaryDirectory(prefix="keyfuse-chaos-") as made:
            directory = args.keep or Path(made)
            directory.mkdir(exist_ok=True, parents=True)
            with running_kafka(directory) as broker:
                one = asyncio.run(run(
                    broker, directory, seed, size=size, faults=faults, traffic=traffic, patience_s=_PATIENCE_S, say=say
                ))  # fmt: skip
    except NoKafkaError as missing:
        print(f"no Apache Kafka: {missing}", file=sys.stderr)
        return 2
    found = verdicts(traffic, one.left)
    print(table(one.happened, found))
    wrong = mistakes(found, seed, f"python -m benchmarks.chaos{' --quick' if args.quick else ''} --seed {seed}")
    print("\n".join(wrong))
    print(f"\nseed {seed}; wrong: {len(wrong)}; {time.monotonic() - began_s:.0f} s; {machine()}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
