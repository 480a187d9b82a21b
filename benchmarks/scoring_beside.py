"""The scoring path of two states of the code, by turns: what a change costs, on a machine whose speed wanders.

    python -m benchmarks.scoring_beside main~20 --turns 20

One process for each state, both on the same core and never at work together; a turn is the same frames on a fresh copy
of the same history, once in each, in changing order. The ratio is that of the processor times of one turn; its median
is told with the middle half of all turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

_HERE: Final = Path(__file__).resolve().parent.parent
_CHILD: Final = """
import sys
from benchmarks.scoring_path import *
keys, n_events = map(int, sys.argv[1:])
workload = Workload(n_events, keys=keys)
before, frames = history(workload), frames_of(workload, 10_000_000 * HISTORY_BLOCKS)
print("ready", flush=True)
for _ in sys.stdin:
    core = ScoreCore(DetectorsConfig(), partition=0)
    for block in before:
        run(core, block)
    core.advance(int(workload.start.timestamp()))
    print(run(core, frames)[1], flush=True)
"""


class _Side:
    """One state of the code, waiting for its turn."""

    def __init__(self, tree: Path, keys: int, n_events: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(keys), str(n_events)],
            cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"the benchmark's process ended with {self._process.wait()}: see its error above")
        return line

    def cpu_s(self) -> float:
        """Processor time of one turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def _tree_of(revision: str) -> Iterator[Path]:
    """A working tree of a revision, removed again."""
    with tempfile.TemporaryDirectory(prefix="keyfuse-beside-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), revision], cwd=_HERE, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=_HERE, check=True)


def beside(revision: str, *, keys: int, n_events: int, turns: int) -> dict[str, Any]:
    """Events for each second of processor time here over there, turn by turn."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with _tree_of(revision) as tree:
        here, there = _Side(_HERE, keys, n_events), _Side(tree, keys, n_events)
        try:
            pairs = []
            for turn in range(turns):
                first, second = (here, there) if turn % 2 == 0 else (there, here)
                times = first.cpu_s(), second.cpu_s()
                pairs.append(times if turn % 2 == 0 else times[::-1])
        finally:
            here.stop()
            there.stop()
    return {"against": revision, "keys": keys, "events": n_events, "turns": turns, **figures(pairs, n_events)}


def figures(turns: list[tuple[float, float]], n_events: int) -> dict[str, Any]:
    """Of the processor seconds (here, there) of each turn; a ratio above 1 is faster than there."""
    ratios = [there_s / here_s for here_s, there_s in turns]
    here_s, there_s = zip(*turns, strict=True)
    low, _, high = quantiles(ratios, n=4)
    return {
        "ratio": round(median(ratios), 3), "middle_half": [round(low, 3), round(high, 3)],
        "ratio_of_bests": round(min(there_s) / min(here_s), 3),
        "here_per_cpu_s": round(n_events / median(here_s)), "there_per_cpu_s": round(n_events / median(there_s)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="a commit, tag or branch to stand beside")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=20)
    asked = parser.parse_args()
    print(json.dumps(beside(asked.revision, keys=asked.keys, n_events=asked.events, turns=max(asked.turns, 2))))


if __name__ == "__main__":
    main()
