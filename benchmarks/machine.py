"""What the figures were measured on, and how samples become a figure."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = ("aiokafka", "faust-streaming", "numpy", "pyarrow", "pydantic", "river")


def machine() -> dict[str, Any]:
    """Processor, cores, Python, libraries, and how busy the machine was when this was asked."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


@contextmanager
def first_in_line() -> Iterator[None]:
    """What is started meanwhile goes before everything else on the machine, in turns among itself, where that is
    allowed: a busy machine then makes nothing slower.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, PermissionError):  # no Linux, or not allowed
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def figure(samples: Sequence[float]) -> dict[str, Any]:
    """Median, and the spread: the range over the median.

    >>> figure([9.0, 10.0, 12.0])
    {'median': 10.0, 'spread': 0.3, 'samples': [9.0, 10.0, 12.0]}
    """
    median = statistics.median(samples)
    return {
        "median": _rounded(median),
        "spread": round((max(samples) - min(samples)) / median, 3) if median else 0.0,
        "samples": [_rounded(sample) for sample in samples],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
