"""`python -m tests.integration.killed_worker CONFIG`: the worker as a program that says how far it is, to be killed.

One JSON line whenever the clock of event time has moved. It ends with SIGTERM, and when its parent is gone.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from service.install import Install
from service.logs import configure_logging
from service.worker import ROLES, Worker

_SAY_EVERY_S = 0.01


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


async def _main(config: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    install = Install.open(config)
    worker = Worker(install, install.folder.wiring.kafka.bootstrap, [role for role in ROLES if role != "http"])
    await worker.start()
    # While the ingest is down no frames come; the wall clock must not take that for silence, or runs could not be
    # compared to the second.
    worker.score._settings = replace(worker.score._settings, idle_s=math.inf)
    last: dict[str, int] = {}
    while not stop.is_set():
        clock_s = max((core.clock_s for core in worker.score.cores()), default=0)
        now = {"clock_s": clock_s, "scored": worker.score.scored}
        if now != last:
            sys.stdout.write(json.dumps(now) + "\n")
            sys.stdout.flush()
            last = now
        await asyncio.sleep(_SAY_EVERY_S)
    await worker.stop()


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_logging(level="WARNING")
    asyncio.run(_main(Path(sys.argv[1])))
