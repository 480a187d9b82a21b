"""A wall clock that is wrong by what a file says, in the process that installs it: what NTP or a hypervisor can do."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Final

VARIABLE: Final = "KEYFUSE_CHAOS_CLOCK"
_SECONDS: Final = struct.Struct("<d")


def set_clock(path: Path, off_s: float) -> None:
    """From now on, for all who installed this file. Written in place: they have it mapped."""
    if not path.exists():
        path.write_bytes(_SECONDS.pack(off_s))
        return
    with path.open("r+b") as file:
        file.write(_SECONDS.pack(off_s))


def install(path: str) -> None:
    """`time.time` and `time.time_ns` of this process are off from now on; clocks that never jump stay as they are."""
    with Path(path).open("rb") as file:
        offset = mmap.mmap(file.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)
    true_ns = time.time_ns

    def time_ns() -> int:
        off_s: float = _SECONDS.unpack_from(offset)[0]
        return true_ns() + round(off_s * 1e9)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9  # noqa: TID251 - the one place that changes it
