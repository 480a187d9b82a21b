"""`make leases`: 10,000 histories of two and three gates that borrow from one lender, and what came of them.

python -m benchmarks.leases.run [--histories 10000] [--seed 0] [--processes 2]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from benchmarks.leases.faults import any_fault
from benchmarks.leases.world import CeilingPassed, Fault, Plan, World

PLANS: Final[dict[str, Plan]] = {
    "money, two gates": Plan(replicas=2),
    "money, three gates": Plan(),
    "money, every stop a new start": Plan(wakes=False),
    "money, some calls pass by the gates": Plan(beside=0.03),
    "money, a large budget": Plan(limit=1_000_000),
    "money, calls over at once": Plan(reservation_ms=400, seen_within_ms=200, limit=60_000, gap_ms=60),
    "requests, 60 in all": Plan(settles=False, limit=60, largest=1),
    "tokens, begun unasked": Plan(limit=30_000, start=600, reservation_ms=2000, seen_within_ms=1000),
    "tokens, few large calls": Plan(replicas=2, limit=5_000, largest=1_500, gap_ms=400),
}
_EACH: Final = 25  # histories of one job


@dataclass(frozen=True)
class Sum:
    """Of several histories."""

    histories: int = 0
    calls: int = 0
    refused: int = 0
    faults: int = 0
    passed: tuple[str, ...] = ()  # the seeds in which the ceiling was passed, and how
    unused: int = 0  # at the end of a history, at most, where calls were refused to the end

    def __add__(self, other: Sum) -> Sum:
        return Sum(
            self.histories + other.histories, self.calls + other.calls, self.refused + other.refused,
            self.faults + other.faults, self.passed + other.passed, max(self.unused, other.unused),
        )  # fmt: skip


def one(plan: Plan, seed: int, fault: Fault = any_fault) -> Sum:
    """One history, told in figures."""
    world = World(plan, seed, fault=fault)
    try:
        truth = world.run()
    except CeilingPassed as error:
        return Sum(1, passed=(f"seed {seed}: {error}",))
    used = max(truth.through.get("second", 0), world.seen.get("second", 0))  # calls of the first may end in the second
    unused = plan.limit - used if truth.refused_last_ms > world.end_ms - 5_000 else 0
    return Sum(1, truth.calls, truth.refused, truth.faults, (), unused)


def some(plan: Plan, first: int, count: int) -> Sum:
    return sum((one(plan, seed) for seed in range(first, first + count)), Sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    each = -(-args.histories // len(PLANS))
    starts = range(args.seed, args.seed + each, _EACH)
    print(f"{'kind':<38}{'histories':>10}{'faults':>9}{'calls':>10}{'refused':>10}{'passed':>8}{'unused at most':>16}")
    total = Sum()
    with ProcessPoolExecutor(args.processes) as pool:
        for name, plan in PLANS.items():
            counts = [min(_EACH, args.seed + each - start) for start in starts]
            found = sum(pool.map(partial(some, plan), starts, counts), Sum())
            print(
                f"{name:<38}{found.histories:>10,}{found.faults:>9,}{found.calls:>10,}{found.refused:>10,}"
                f"{len(found.passed):>8}{found.unused / plan.limit:>16.1%}", flush=True,
            )  # fmt: skip
            print(*found.passed, sep="\n", end="\n" * bool(found.passed))
            total += replace(found, unused=0)
    print(f"{total.histories:,} histories, {total.faults:,} faults: the ceiling was passed in {len(total.passed)}")
    raise SystemExit(bool(total.passed))


if __name__ == "__main__":
    main()
