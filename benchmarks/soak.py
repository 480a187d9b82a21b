"""Does a worker's memory grow? Half an hour under a steady load, with its resident memory every few seconds.

    python -m benchmarks.soak [--minutes 30] [--per-s 5000]

One `keyfuse worker` with the roles `ingest,score,decide,contain`, the open-loop generator of `benchmarks.latency`,
10,000 keys. The first third is warming up (windows fill, caches too) and does not count; of the rest the slope is that
of the straight line nearest to the samples, and beside it stands how much the middle of the last third lies above that
of the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.broker import PARTITIONS, running_broker
from benchmarks.latency.load import generate, wall_s
from benchmarks.latency.worker import worker, write_folder
from benchmarks.machine import machine
from streams.kafka import create_topics
from streams.topics import Topic, Topics

_EVERY_S: Final = 5.0
_ROLES: Final = "ingest,score,decide,contain"


async def measure(bootstrap: str, *, minutes: float, per_s: float) -> dict[str, Any]:
    """Of one worker: its memory over the time, and what it was given."""
    topics = Topics(f"soak{wall_s():.0f}.", PARTITIONS)
    await create_topics(bootstrap, topics.specs())
    with tempfile.TemporaryDirectory(prefix="keyfuse-soak-") as name:
        folder = Path(name)
        write_folder(folder, bootstrap=bootstrap, prefix=topics.prefix, hook="http://127.0.0.1:9", thieves=0)
        async with worker(folder, _ROLES) as pid:
            sending = asyncio.create_task(generate(
                bootstrap, topics.name(Topic.RAW), per_s=per_s, seconds=minutes * 60, first=0, thieves_per_s=0
            ))  # fmt: skip
            samples, began = list[tuple[float, int]](), time.monotonic()
            while not sending.done():
                samples.append((time.monotonic() - began, rss_bytes(pid)))
                await asyncio.wait({sending}, timeout=_EVERY_S)
            sent = await sending
    return {"minutes": minutes, "sent": sent["sent"], **figures(samples), "machine": machine()}


def rss_bytes(pid: int) -> int:
    """Of another process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def figures(samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """MB and MB an hour, of (seconds, bytes).

    >>> figures([(at, 1_000_000 + 100 * at) for at in range(0, 3600, 10)])["slope_mb_per_hour"]
    0.36
    """
    at_s, rss = np.array(samples, dtype=float).T
    _, second, last = np.array_split(rss, 3)
    warm = len(rss) - len(second) - len(last)
    slope = np.polyfit(at_s[warm:], rss[warm:], 1)[0]
    return {
        "rss_mb": round(float(np.median(last)) / 1e6, 1), "rss_most_mb": round(float(rss.max()) / 1e6, 1),
        "slope_mb_per_hour": round(float(slope) * 3600 / 1e6, 2),
        "last_third_over_second_mb": round(float(np.median(last) - np.median(second)) / 1e6, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--per-s", type=float, default=5_000)
    asked = parser.parse_args()
    with running_broker() as broker:
        print(json.dumps(asyncio.run(measure(broker.bootstrap, minutes=asked.minutes, per_s=asked.per_s)), indent=2))


if __name__ == "__main__":
    main()
