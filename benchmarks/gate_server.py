"""A gate alone in a process, in memory: says its port when it is ready, and at its end what it took.

python -m benchmarks.gate_server --keys 100000 --core 0
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import time
from typing import Final

import uvloop

from benchmarks.gate_bank import Bank
from benchmarks.gate_uvicorn import UvicornListener
from benchmarks.gate_world import decider
from gate.http import Listener
from gate.lease import Borrower
from gate.server import Edge, GateServer
from service.settled_memory import GATE, settle_memory

WAYS: Final = {"protocol": Listener, "uvicorn": UvicornListener}
PRIORITY: Final = 5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def tick_ms() -> int:
    return time.monotonic_ns() // 1_000_000


async def serve(server: GateServer, bank: Bank, way: str) -> None:
    stop = asyncio.Event()
    bank.look(tick_ms())
    lending = asyncio.create_task(bank.lend(tick_ms))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    url = await WAYS[way](server).start()
    settle_memory(*GATE)
    print(json.dumps({"port": int(url.rpartition(":")[2])}), flush=True)
    began = time.process_time()
    await stop.wait()
    lending.cancel()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_s": time.process_time() - began, "peak_mb": round(peak_mb)}), flush=True)
    os._exit(0)  # a million objects need not be taken apart one by one


def alone(core: int, *, realtime: bool) -> None:
    """On one core; before everything else there, where that is allowed."""
    os.sched_setaffinity(0, {core})
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, default="protocol")
    parser.add_argument("--realtime", action="store_true")
    wanted = parser.parse_args()
    borrower = Borrower("bench", "1")
    asked = decider(wanted.keys, borrower, at_ms=now_ms(), tick_ms=tick_ms)
    edge = Edge(asked, str, now_ms, tick_ms, None, list, bytes)
    alone(wanted.core, realtime=wanted.realtime)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(GateServer(edge), Bank(borrower), wanted.way))


if __name__ == "__main__":
    main()
