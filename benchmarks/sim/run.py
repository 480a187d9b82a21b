"""`make sim`: 100,000 seeded histories of ingest, score and archive, and all that goes wrong in them.

python -m benchmarks.sim.run [--histories 100000] [--first 0] [--processes 2]
python -m benchmarks.sim.run --seed N            # one history again, what befell it, and the smallest that still fails
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from benchmarks.sim.verdicts import wrong_in
from benchmarks.sim.world import HISTORIES_EACH, World

MOST_RECORDS: Final = 8
_TOLD_EVERY: Final = 1000


@dataclass
class Sum:
    """Of several histories."""

    histories: int = 0
    events: int = 0
    lives: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: dict[int, list[str]] = field(default_factory=dict)

    def add(self, other: Sum) -> None:
        self.histories += other.histories
        self.events += other.events
        self.lives += other.lives
        self.faults += other.faults
        self.wrong |= other.wrong


def one(seed: int, *, records: int = MOST_RECORDS, faults: int | None = None) -> tuple[World, list[str]]:
    """A history and what is wrong in it. One that breaks off is a wrong one, and the others are played all the same."""
    world = World(seed, records=records, faults=faults)
    try:
        return world, wrong_in(world.play())
    except Exception as error:  # whatever it was, it is told
        return world, [*world.wrong, f"it broke off: {error!r}"]


def some(first: int, count: int, step: int = 1) -> Sum:
    total = Sum()
    for seed in range(first, first + count * step, step):
        world, found = one(seed)
        total.add(Sum(1, len(world.sent.events), world.lives, world.luck.happened, {seed: found} if found else {}))
    return total


def smallest(seed: int) -> tuple[World, list[str]]:
    """The history of this seed with as few records, and then as few faults, as still fail."""
    for records in range(2, MOST_RECORDS + 1):
        for faults in range(7):
            world, found = one(seed, records=records, faults=faults)
            if found:
                return world, found
    return one(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="its seed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="only this one, as small as it still fails")
    args = parser.parse_args()
    raise SystemExit(_again(args.seed) if args.seed is not None else _all(args.first, args.histories, args.processes))


def _again(seed: int) -> int:
    world, found = smallest(seed)
    for partition, value, _ in world.sent.records:
        print(f"sent to {partition}: {value.decode()}")
    print("\n".join(["", *world.luck.told, ""]))
    print("\n".join(f"WRONG {words}" for words in found) or "nothing is wrong")
    return bool(found)


def _all(first: int, histories: int, processes: int) -> int:
    began_s, total = time.monotonic(), Sum()
    starts = range(first, first + histories, HISTORIES_EACH)
    counts = [min(HISTORIES_EACH, first + histories - start) for start in starts]
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(partial(some), starts, counts):
            total.add(part)
            for seed, found in part.wrong.items():
                print(f"WRONG seed {seed}: {found[0]}; see `python -m benchmarks.sim.run --seed {seed}`", flush=True)
            if total.histories % _TOLD_EVERY == 0:
                print(f"{total.histories:,} histories, wrong: {len(total.wrong)}", file=sys.stderr, flush=True)
    for what, count in (
        ("histories", total.histories),
        ("events sent", total.events),
        ("lives of workers", total.lives),
    ):
        print(f"| {what} | {count:,} |")
    for fault, count in sorted(total.faults.items()):
        print(f"| fault: {fault} | {count:,} |")
    print(f"\nwrong: {len(total.wrong)} of {total.histories:,}; {time.monotonic() - began_s:.0f} s")
    return bool(total.wrong)


if __name__ == "__main__":
    main()
