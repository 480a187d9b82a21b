"""Breaks a whole install on Apache Kafka for minutes, and prints what is left and whether it is exact.

python -m benchmarks.chaos [--quick | --page] [--seed N] [--schedule] [--keep DIR]
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
from benchmarks.chaos.report import block, mistakes, table, with_block
from benchmarks.chaos.run import run
from benchmarks.chaos.schedule import FULL, QUICK, schedule, told
from benchmarks.chaos.traffic import made_up
from benchmarks.chaos.world import PARTITIONS
from benchmarks.machine import machine
from tests.brokers import NoKafkaError, running_kafka

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
_PATIENCE_S = 420.0


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = asked.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="three minutes instead of thirteen")
    how.add_argument("--page", action="store_true", help=f"write the figures to {PAGE.relative_to(ROOT)}")
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
    found = verdicts(traffic, one.left, size)
    tables = table(one.happened, found)
    print(tables)
    command = f"python -m benchmarks.chaos{' --quick' if args.quick else ''} --seed {seed}"
    wrong = mistakes(found, seed, command)
    print("\n".join(wrong))
    took_s, where = time.monotonic() - began_s, machine()
    print(f"\nseed {seed}; wrong: {len(wrong)}; {took_s:.0f} s; {where}")
    if args.page:
        PAGE.write_text(
            with_block(PAGE.read_text(encoding="utf-8"), block(command, where, took_s, len(wrong), tables)),
            encoding="utf-8",
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
