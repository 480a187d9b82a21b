"""Clocks besides the wall's (`service.install.wall_ms`)."""

from __future__ import annotations

import time
from typing import Final

_ALSO_ASLEEP: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def steady_ms() -> int:
    """Never jumps, and goes on while the machine sleeps, where the system can tell: leases end then too."""
    if _ALSO_ASLEEP is None:
        return time.monotonic_ns() // 1_000_000
    return time.clock_gettime_ns(_ALSO_ASLEEP) // 1_000_000
