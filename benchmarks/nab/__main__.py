"""Keyfuse's velocity scoring on the Numenta Anomaly Benchmark (NAB): prints the table, writes NAB's results layout.

    python -m benchmarks.nab [--data DIR] [--out DIR] [--json FILE]

`--data` is a folder with NAB's `data` and `labels` (default: `nab` in KEYFUSE_DATA, else in `../shared/data`). `--out`
gets `keyfuse/<group>/keyfuse_<file>.csv`, the layout of NAB's `results`, so that its own scorer can be run on it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import machine
from benchmarks.nab.corpus import Series, load
from benchmarks.nab.detector import Detector, Settings
from benchmarks.nab.gaussian import PUBLISHED, windowed_gaussian
from benchmarks.nab.halves import BLOCKS, HALVES, candidates, crossed
from benchmarks.nab.scoring import PROFILES, Floats, best, merge, steps

_BEST_ENTRIES: Final = {
    "ARTime (published)": (74.9, 65.1, 80.4),
    "contextOSE (published)": (69.9, 67.0, 73.2),
}


def main() -> None:
    default = Path(os.environ.get("KEYFUSE_DATA") or Path(__file__).parents[3] / "shared" / "data") / "nab"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    corpus = load(arguments.data)
    started = time.process_time()
    scores = [run(series) for series in corpus]
    us_per_point = 1e6 * (time.process_time() - started) / sum(map(len, scores))
    measured = measure(corpus, scores) | {"us_per_point": round(us_per_point, 1)}
    if arguments.out:
        write_results(arguments.out, corpus, scores)
    if arguments.json:
        arguments.json.write_text(json.dumps(measured | {"machine": machine()}, indent=2) + "\n", encoding="utf-8")
    print(table(measured))


def run(series: Series) -> Floats:
    """The score of each point, given out before the next is seen."""
    detector = Detector()
    points = zip(series.times_s.tolist(), series.values.tolist(), strict=True)
    return np.array([detector.score(time_s, value) for time_s, value in points])


def news(series: Series, settings: Settings) -> Floats:
    detector = Detector(settings)
    points = zip(series.times_s.tolist(), series.values.tolist(), strict=True)
    return np.array([detector.news(time_s, value) for time_s, value in points])


def measure(corpus: Sequence[Series], scores: Sequence[Floats]) -> dict[str, Any]:
    """All figures: normalised scores in percent, by profile."""
    ours = [steps(of_file, series.windows) for of_file, series in zip(scores, corpus, strict=True)]
    of_blocks = {block: [news(series, Settings(block=block)) for series in corpus] for block in BLOCKS}
    return {
        "files": len(corpus),
        "points": sum(map(len, scores)),
        "windows": merge(ours).windows,
        "halves": HALVES,
        "in_sample": in_sample(corpus, scores),
        "other_half_threshold": crossed([ours]),
        "other_half_settings": crossed(candidates(corpus, of_blocks)),
        "windowed_gaussian": in_sample(corpus, [windowed_gaussian(series.values) for series in corpus]),
    }


def in_sample(corpus: Sequence[Series], scores: Sequence[Floats]) -> dict[str, float]:
    files = merge([steps(of_file, series.windows) for of_file, series in zip(scores, corpus, strict=True)])
    return {profile.name: best(files, profile).score for profile in PROFILES}


def table(measured: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    speed = f"{measured['us_per_point']:.1f}"
    rows = [
        _row("**Keyfuse**, threshold best on these files, as NAB does", measured["in_sample"].values(), speed),
        _row("Keyfuse, threshold from the other half of the files", measured["other_half_threshold"].values(), ""),
        _row("Keyfuse, threshold and settings from the other half", measured["other_half_settings"].values(), ""),
        *(_row(name, figures, "") for name, figures in _BEST_ENTRIES.items()),
        _row("windowedGaussian, ours (check)", measured["windowed_gaussian"].values(), ""),
        _row("windowedGaussian (published)", PUBLISHED.values(), ""),
    ]
    head = ["| detector | standard | low FP | low FN | µs per point |", "|---|---|---|---|---|"]
    counted = f"{measured['files']} files, {measured['points']:,} points, {measured['windows']} windows"
    return "\n".join([f"NAB: {counted}; mean of {measured['halves']} random halves, both ways.", "", *head, *rows])


def _row(name: str, figures: Any, speed: str) -> str:  # noqa: ANN401 - any iterable of three numbers
    return f"| {name} | {' | '.join(f'{figure:.4g}' for figure in figures)} | {speed} |"


def write_results(folder: Path, corpus: Sequence[Series], scores: Sequence[Floats]) -> None:
    """NAB's results layout: timestamp, value, anomaly_score, label (1 inside a window)."""
    for series, of_file in zip(corpus, scores, strict=True):
        group, _, name = series.name.rpartition("/")
        path = folder / "keyfuse" / group / f"keyfuse_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = np.zeros(len(of_file), np.int64)
        for first, last in series.windows:
            labels[first : last + 1] = 1
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines, lineterminator="\n")
            writer.writerow(("timestamp", "value", "anomaly_score", "label"))
            columns = (series.timestamps, series.values.tolist(), of_file.tolist(), labels.tolist())
            writer.writerows(zip(*columns, strict=True))


if __name__ == "__main__":
    main()
