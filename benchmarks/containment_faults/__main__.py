"""Plays histories and prints what became of their orders, or what was wrong and how to see it again.

python -m benchmarks.containment_faults [--orders 10000] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.containment_faults.figures import Figures, Told, told_of
from benchmarks.containment_faults.history import play
from benchmarks.containment_faults.verdicts import wrong_in

PER_HISTORY = 100


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--orders", type=int, default=10_000, help="in all; a hundred in each history")
    asked.add_argument("--seed", type=int, help="only the history of this seed, with all that was told")
    args = asked.parse_args()
    if args.seed is not None:
        return _one(args.seed)
    began_s, figures, bad = time.monotonic(), Figures(), 0
    for seed in range(max(1, args.orders // PER_HISTORY)):
        history = play(seed, orders=PER_HISTORY)
        figures.add(history)
        for words in wrong_in(history):
            bad += 1
            print(f"WRONG {words}; see `python -m benchmarks.containment_faults --seed {seed}`")
    print(figures.table())
    print(f"\nwrong: {bad}; {time.monotonic() - began_s:.0f} s")
    return 1 if bad else 0


def _one(seed: int) -> int:
    history = play(seed, orders=PER_HISTORY)
    for line in sorted(told_of(history), key=Told.when):
        print(line.words)
    found = wrong_in(history)
    print("\n".join(f"WRONG {words}" for words in found) or "nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
