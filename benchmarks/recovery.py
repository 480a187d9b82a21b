"""How long a worker takes until it scores again, with the state of many keys: after a kill, and without its disk.

    python -m benchmarks.recovery [--keys 100000 --keys 1000000]

One worker takes in every key once, writes all its shards and is killed. Then another starts: with the same data folder,
and with an empty one. Measured from the start of the process until it has scored new events in every partition; of
that, loading and restoring the state stand apart from starting Python and joining the groups.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.broker import PARTITIONS, RunningBroker, running_broker
from benchmarks.preload import preload, produce
from benchmarks.workload import Workload, events, partitioned
from streams.changelog import Changelog
from streams.kafka import producer
from streams.topics import StateTopic, Topics

_NEW: Final = 2_000  # events that come after the kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, action="append")
    asked = parser.parse_args()
    with running_broker() as broker:
        found = [asyncio.run(measure(broker, keys)) for keys in asked.keys or [100_000]]
    print(json.dumps(found, indent=2))


async def measure(broker: RunningBroker, keys: int) -> dict[str, Any]:
    """Seconds of each part, of one fill and two starts."""
    topics = Topics(f"recovery{keys}.", PARTITIONS)
    topic = f"recovery.{keys}"
    every = Workload(keys, keys=keys, in_turn=True, stolen=False)
    await preload(broker.bootstrap, topic, every, partitions=PARTITIONS)
    given = ["--bootstrap", broker.bootstrap, "--raw", topic, "--prefix", topics.prefix, "--keys", str(keys)]
    with tempfile.TemporaryDirectory(prefix="keyfuse-recovery-") as name:
        kept, empty = Path(name) / "kept", Path(name) / "empty"
        filled = _life([*given, "--fill", "--events", str(keys), "--directory", str(kept)])
        found = {"keys": keys, **filled, "state_mb": await _state_mb(broker.bootstrap, topics)}
        for hours, (what, directory) in enumerate((("after_kill", kept), ("without_disk", empty)), 1):
            start = every.start + timedelta(hours=hours)
            more = replace(every, events=_NEW, in_turn=False, seed=900 + hours, start=start)
            await produce(broker.bootstrap, topic, partitioned(events(more), PARTITIONS))
            found[what] = _life([*given, "--events", str(_NEW), "--directory", str(directory)])
    return found


async def _state_mb(bootstrap: str, topics: Topics) -> float:
    """What is to be read back: the newest value of each shard."""
    async with producer(bootstrap) as unused:
        state = Changelog(bootstrap, topics.state_name(StateTopic.SCORE), unused)
        for partition in range(PARTITIONS):
            await state.load(partition)
    sizes = [len(value) for partition in range(PARTITIONS) for value in state.items(partition).values()]
    return round(sum(sizes) / 1e6, 1)


def _life(given: list[str]) -> dict[str, Any]:
    """One process, killed once it has said what it measured."""
    command = [sys.executable, "-m", "benchmarks.recovery_process", *given, "--began", str(time.monotonic())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    if not line:
        raise RuntimeError("the worker ended without a word: its error stands above")
    found: dict[str, Any] = json.loads(line)
    return found


if __name__ == "__main__":
    main()
