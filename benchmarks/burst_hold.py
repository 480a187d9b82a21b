"""Holds a process to a share of the time: it may run for that share of each 100 ms and is stopped for the rest.

    python -m benchmarks.burst_hold --pid 1234 --share 0.02

Until its standard input ends, so that nothing stays stopped when whoever asked for it dies. A process of its own: a
thread would wait for the interpreter's lock just when it should stop the other.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Final

PERIOD_S: Final = 0.1


def hold(pid: int, share: float) -> None:
    """Returns when the process is gone or nothing more can come by standard input; the process then runs."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        while not select.select([sys.stdin], [], [], PERIOD_S * (1 - share))[0]:
            os.kill(pid, signal.SIGCONT)
            time.sleep(PERIOD_S * share)
            os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--share", type=float, required=True)
    asked = parser.parse_args()
    hold(asked.pid, asked.share)


if __name__ == "__main__":
    main()
