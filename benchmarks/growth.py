"""What idle keys, more events in a record, and a second worker change: the growth of cost.

    python -m benchmarks.growth [--only idle_keys|events_per_record|workers]

- Idle keys: the scoring path with 1,000 keys in use, of 1,000 to 1,000,000 that are known, each in its own process.
- Events in a record: one worker, the same events in records of 1, 10, 100 and 500.
- Workers: one and two on the same full topic, counted while all of them score. Broker and workers share two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

from benchmarks.broker import PARTITIONS, running_broker
from benchmarks.growth_workers import counted_together
from benchmarks.machine import figure, machine
from benchmarks.preload import preload
from benchmarks.workload import Workload

KNOWN_KEYS: Final = (1_000, 10_000, 100_000, 1_000_000)
ACTIVE_KEYS: Final = 1_000
PER_RECORD: Final = (1, 10, 100, 500)
WORKERS: Final = (1, 2)
_TURNS: Final = 3
_TIMEOUT_S: Final = 600


def idle_keys() -> dict[str, Any]:
    """Events for each second of processor time, memory of a key, by how many keys are known."""
    found = {}
    for known in KNOWN_KEYS:
        one = _said("growth_idle", ["--known", str(known), "--active", str(ACTIVE_KEYS), "--turns", str(_TURNS)])
        found[str(known)] = {
            "events_per_cpu_s": figure(one["per_cpu_s"]), "rss_bytes_per_key": round(one["rss_bytes"] / known),
        }  # fmt: skip
    return found


def events_per_record() -> dict[str, Any]:
    """Events/s of one worker, by how many events a record holds."""
    found, events = {}, Workload(400_000)
    with running_broker() as broker:
        for per_record in PER_RECORD:
            topic = f"growth.{per_record}"
            asyncio.run(preload(broker.bootstrap, topic, events, partitions=PARTITIONS, per_record=per_record))
            turns = [
                _said("worker_process", [
                    "--bootstrap", broker.bootstrap, "--raw", topic, "--events", str(events.events),
                    "--prefix", f"growth{per_record}x{turn}.",
                ]) for turn in range(_TURNS)
            ]  # fmt: skip
            found[str(per_record)] = {
                "events_per_s": figure([each["events"] / each["seconds"] for each in turns]),
                "events_per_cpu_s": figure([each["events"] / each["cpu_s"] for each in turns]),
            }
    return found


def workers() -> dict[str, Any]:
    """Events/s together, by how many workers share the partitions."""
    found, events = {}, Workload(1_500_000)
    with running_broker() as broker:
        asyncio.run(preload(broker.bootstrap, "growth.workers", events, partitions=PARTITIONS))
        for count in WORKERS:
            turns = [
                counted_together(broker.bootstrap, "growth.workers", f"together{count}x{turn}.", count, events.events)
                for turn in range(_TURNS)
            ]
            found[str(count)] = {
                "events_per_s": figure([each["events_per_s"] for each in turns]),
                "events_per_cpu_s": figure([each["events_per_cpu_s"] for each in turns]),
            }
    return found


def _said(module: str, given: list[str]) -> dict[str, Any]:
    """What a process of its own measured: its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *given],
        check=True, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_S,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


PIECES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "idle_keys": idle_keys, "events_per_record": events_per_record, "workers": workers,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PIECES, action="append")
    chosen = parser.parse_args().only or list(PIECES)
    print(json.dumps({name: PIECES[name]() for name in chosen} | {"machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
