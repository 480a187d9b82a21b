"""The gate: latency at 5,000 calls a second with an open loop, the most it sustains, and how fast a cut reaches it.

python -m benchmarks.gate [--normal-priority] [--ways] [--reach-only]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.gate_load import Load
from benchmarks.gate_reach import in_turn
from benchmarks.gate_server import PRIORITY
from benchmarks.gate_world import calls
from benchmarks.machine import figure, machine

KEYS: Final = 100_000
PER_S: Final = 5_000
SECONDS: Final = 5.0
REPETITIONS: Final = 3
GOAL_US: Final = 1_000
STEPS: Final = (6_000, 8_000, 10_000, 12_000, 15_000, 18_000)


class Gate:
    """One gate on core 0; we are on core 1. Both go before everything else there, where that is allowed."""

    def __init__(self, *, way: str, realtime: bool) -> None:
        command = [sys.executable, "-m", "benchmarks.gate_server", "--keys", str(KEYS), "--way", way]
        self._process = subprocess.Popen(
            [*command, *(["--realtime"] if realtime else [])], stdout=subprocess.PIPE, text=True
        )
        self._realtime, self._bodies, self.requests = realtime, calls(KEYS, 50_000, 1), 0
        self.port: int = self._said()["port"]

    def load(self, per_s: float, seconds: float, *, seed: int, settle: bool = True) -> dict[str, Any]:
        load = Load(self.port, self._bodies, settle=settle)
        with _first(self._realtime):
            measured = load.run(per_s, seconds, seed=seed)
        self.requests += measured.requests
        return measured.figures()

    def end(self) -> dict[str, Any]:
        """What it took."""
        self._process.send_signal(signal.SIGTERM)
        took = self._said()
        self._process.wait()
        return {"cpu_us_per_request": round(1e6 * took["cpu_s"] / self.requests, 1), "peak_mb": took["peak_mb"]}

    def kill(self) -> None:
        self._process.kill()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def _first(realtime: bool) -> Iterator[None]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    gc.disable()
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    try:
        yield
    finally:
        if realtime:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        gc.enable()


@contextmanager
def running(way: str, *, realtime: bool) -> Iterator[Gate]:
    gate = Gate(way=way, realtime=realtime)
    try:
        yield gate
    finally:
        gate.kill()


def answers(way: str, *, realtime: bool, climb: bool) -> dict[str, Any]:
    """At 5,000 a second, alone and each settled; then ever more until it no longer holds."""
    with running(way, realtime=realtime) as gate:
        gate.load(PER_S, SECONDS, seed=9)  # every key's rules are looked up once
        alone = [gate.load(PER_S, SECONDS, seed=seed, settle=False) for seed in range(REPETITIONS)]
        settled = [gate.load(PER_S, SECONDS, seed=seed) for seed in range(REPETITIONS)]
        found: dict[str, Any] = {**_figures(alone), "settled": _figures(settled), "runs": [*alone, *settled]}
        if climb:
            found["climb"] = _climb(gate)
            held = [step["per_s"] for step in found["climb"] if step["p99_us"] <= GOAL_US]
            found["sustained_per_s"] = max(held, default=0)
        return found | gate.end()


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: figure([run[name] for run in runs]) for name in ("p50_us", "p99_us", "p999_us")}


def _climb(gate: Gate) -> list[dict[str, Any]]:
    """Calls alone: who asks for more than this asks several gates."""
    steps = list[dict[str, Any]]()
    for per_s in STEPS:
        steps.append({"per_s": per_s, **gate.load(per_s, 2, seed=7, settle=False)})
        if steps[-1]["p99_us"] > 20 * GOAL_US:
            break
    return steps


def measure(*, realtime: bool = True) -> dict[str, Any]:
    found = answers("protocol", realtime=realtime, climb=True)
    reach = {str(replicas): in_turn(replicas) for replicas in (1, 3)}
    return {**found, "reach": reach, "realtime": realtime, "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--normal-priority", action="store_true", help="as everything else on the machine")
    parser.add_argument("--ways", action="store_true", help="the two ways to carry the bytes, side by side")
    parser.add_argument("--reach-only", action="store_true", help="how fast a cut reaches one and three gates")
    wanted = parser.parse_args()
    realtime = not wanted.normal_priority
    if wanted.ways:
        found = {way: answers(way, realtime=realtime, climb=False) for way in ("protocol", "uvicorn")}
    elif wanted.reach_only:
        found = {str(replicas): in_turn(replicas) for replicas in (1, 3)}
    else:
        found = measure(realtime=realtime)
    print(json.dumps({**found, "load_1m": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
