"""How long a new keys.yaml of 100,000 keys holds a gate's event loop up, whose calls wait meanwhile.

python -m benchmarks.gate_reload [--keys 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
import yaml

from benchmarks.gate_world import key_of
from gate.known import Known
from service.config_tree import Folder
from service.gate_planes import planes_of
from service.install import Install
from service.reload import follow_folder
from service.settled_memory import GATE, settle_memory
from streams.metrics import Metrics

_TICK_S = 0.001


def write_keys(directory: Path, count: int, *, team: str) -> None:
    keys = [
        {"key_id": key_of(number), "provider": "openai", "team": team, "app": f"app-{number % 500}", "env": "prod",
         "owner": f"person-{number % 200}"}
        for number in range(count)
    ]  # fmt: skip
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    (directory / "keys.yaml").write_text(yaml.dump({"keys": keys}, Dumper=dumper), encoding="utf-8")


async def measure(directory: Path) -> dict[str, float]:
    """Write first; then the loop's delays from the first look until the new keys are taken, and a second longer."""
    install = Install.open(directory)
    known, taken = Known(install.registry), asyncio.Event()
    write_keys(directory, len(install.registry), team="new")
    settle_memory(*GATE)

    def changed(folder: Folder) -> None:
        known.registered(install.registry)
        planes_of(folder, at_ms=0)
        taken.set()

    began = time.perf_counter()
    following = asyncio.create_task(follow_folder(install, Metrics(), changed=changed, stopping=taken.is_set))
    delays_s, until = list[float](), float("inf")
    while (at := time.perf_counter()) < until:
        await asyncio.sleep(_TICK_S)
        delays_s.append(time.perf_counter() - at - _TICK_S)
        if taken.is_set() and until == float("inf"):
            took_s, until = time.perf_counter() - began, time.perf_counter() + 1
    await following
    assert known.facts(key_of(0)).team == "new"
    worst = sorted(delays_s)
    return {
        "took_s": round(took_s, 2), "longest_ms": round(1000 * worst[-1], 1),
        "ten_longest_ms": [round(1000 * each, 1) for each in worst[-10:]],  # type: ignore[dict-item]
        "p99_ms": round(1000 * worst[len(worst) * 99 // 100], 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    wanted = parser.parse_args()
    with TemporaryDirectory() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        write_keys(Path(directory), wanted.keys, team="old")
        print(json.dumps(runner.run(measure(Path(directory)))))


if __name__ == "__main__":
    main()
