"""The Numenta Anomaly Benchmark's series and labelled windows, read from its own folder layout."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int]
"""First and last index of a labelled window, both inside."""


@dataclass(frozen=True)
class Series:
    """One file: `name` is its path below `data`, like `realTweets/Twitter_volume_AAPL.csv`."""

    name: str
    timestamps: tuple[str, ...]
    values: NDArray[np.float64]
    windows: tuple[Window, ...]

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Seconds since 1970, as if the local times of the files were UTC."""
        return np.array(self.timestamps, dtype="datetime64[s]").astype(np.float64)


def load(folder: Path) -> list[Series]:
    """All series of the benchmark in a folder that holds `data` and `labels`, in order of their names.

    Raises:
        FileNotFoundError: the folder has no such layout.
        ValueError: a window's edge is no timestamp of its series.
    """
    limits = json.loads((folder / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    return [_series(folder / "data", name, limits[name]) for name in sorted(limits)]


def _series(data: Path, name: str, limits: list[list[str]]) -> Series:
    with (data / name).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    timestamps = tuple(row["timestamp"] for row in rows)
    # A timestamp can come twice, where clocks went back: the benchmark means the first.
    windows = tuple((timestamps.index(_plain(first)), timestamps.index(_plain(last))) for first, last in limits)
    return Series(name, timestamps, np.array([float(row["value"]) for row in rows]), windows)


def _plain(timestamp: str) -> str:
    """The labels write microseconds, the data do not."""
    return timestamp.partition(".")[0]
