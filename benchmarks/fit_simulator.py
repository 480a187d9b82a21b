"""Prints the figures that stand in `sources/simulator/fitted.py`, fitted to the ServeGen trace.

    python -m benchmarks.fit_simulator [DATA_FOLDER]

DATA_FOLDER holds `servegen/rates.csv.gz` and `servegen/tokens.csv.gz` (default: KEYFUSE_DATA or ../shared/data).
A client without a row for a window had fewer than ten requests in it; such a window counts as idle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.csv as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW_S: Final = 600
WINDOWS: Final = 14 * 144
RHYTHMS: Final = 6
DAY_SHAPES: Final = 3
TOKEN_SHAPES: Final = 8
DAY_SHAPE_FROM_WINDOWS: Final = 700  # fewer active windows in two weeks say nothing about hours
RESTARTS: Final = 30


def main() -> None:
    """Print the literals of `fitted.py`."""
    default = os.environ.get("KEYFUSE_DATA") or Path(__file__).parents[2] / "shared" / "data"
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default) / "servegen"
    clients = list(_clients(_columns(folder / "rates.csv.gz")))
    print_rhythms(clients)
    print_token_shapes(_columns(folder / "tokens.csv.gz"))


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    table = pc.read_csv(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _groups(columns: dict[str, NDArray[Any]]) -> Iterator[NDArray[np.int64]]:
    name = np.char.add(columns["pool"].astype(str), columns["client"].astype(str))
    for one in np.unique(name):
        yield np.flatnonzero(name == one)


def _clients(columns: dict[str, NDArray[Any]]) -> Iterator[dict[str, Any]]:
    for rows in _groups(columns):
        rate = np.zeros(WINDOWS)
        rate[columns["t_s"][rows] // WINDOW_S] = columns["rate_rps"][rows]
        active = rate > 0
        share = min(active.mean(), 0.9995)
        profile = rate.reshape(14, 24, 6).mean(axis=(0, 2)) / rate.mean()
        steady = active.sum() >= DAY_SHAPE_FROM_WINDOWS
        hour = profile[(np.arange(WINDOWS) // 6) % 24] if steady else np.ones(WINDOWS)
        level = np.log(np.where(active, rate, 1.0)) - np.log(np.maximum(hour, 0.05))
        both = active[:-1] & active[1:]
        yield {
            "logit_share": np.log(share / (1 - share)),
            "log_on_windows": np.log(active.sum() / max(1, np.sum(np.diff(active.astype(int)) == 1) + active[0])),
            "log_rate": np.log(rate[active].mean()),
            "level_sd": level[active].std() if active.sum() > 5 else np.nan,
            "level_rho": np.corrcoef(level[:-1][both], level[1:][both])[0, 1] if both.sum() > 30 else np.nan,
            "log_cv": np.median(np.log(columns["cv"][rows])),
            "weibull": np.mean(columns["arrival"][rows] == "Weibull"),
            "profile": profile if steady else None,
        }


FEATURES: Final = ("logit_share", "log_on_windows", "log_rate", "level_sd", "log_cv")


def print_rhythms(clients: list[dict[str, Any]]) -> None:
    """Cluster clients by how they come and go; one `RhythmKind` each, with the share of each daily shape."""
    days, day_of = _day_shapes(clients)
    values = np.array([[client[name] for name in FEATURES] for client in clients])
    values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
    member = k_means((values - values.mean(axis=0)) / values.std(axis=0), RHYTHMS)
    print("DAY_SHAPES: Final = (")
    print(f"    {(1.0,) * 24},")
    for day in days:
        print(f"    {tuple(round(float(factor), 2) for factor in day / day.mean())},")
    print(")\n\nRHYTHM_KINDS: Final = (")
    for kind in np.argsort([-values[member == one, 0].mean() for one in range(RHYTHMS)]):
        rows = np.flatnonzero(member == kind)
        rho = [clients[row]["level_rho"] for row in rows]
        print("    RhythmKind(")
        print(f"        weight={len(rows) / len(clients):.3f},")
        for index, name in enumerate(FEATURES):
            print(f"        {name}=({values[rows, index].mean():.2f}, {values[rows, index].std():.2f}),")
        print(f"        level_rho={np.nanmedian(rho) if not np.all(np.isnan(rho)) else 0.8:.2f},")
        print(f"        weibull_share={np.mean([clients[row]['weibull'] for row in rows]):.2f},")
        print(f"        day_weights={_day_weights(day_of, rows)},")
        print("    ),")
    print(")\n")


def _day_shapes(clients: list[dict[str, Any]]) -> tuple[list[Floats], NDArray[np.int64]]:
    known = [index for index, client in enumerate(clients) if client["profile"] is not None]
    profiles = np.array([clients[index]["profile"] for index in known])
    member = k_means(profiles, DAY_SHAPES)
    order = np.argsort(-np.bincount(member))
    day_of = np.zeros(len(clients), np.int64)  # 0 is flat
    day_of[known] = 1 + np.argsort(order)[member]
    return [profiles[member == one].mean(axis=0) for one in order], day_of


def _day_weights(day_of: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[float, ...]:
    counts = np.bincount(day_of[rows], minlength=DAY_SHAPES + 1)
    return tuple(round(float(one), 2) for one in counts / counts.sum())


def print_token_shapes(columns: dict[str, NDArray[Any]]) -> None:
    """Cluster clients by their whole length distribution; quantiles are geometric means of the members' medians."""
    inputs = [name for name in columns if name.startswith("input_p")]
    outputs = [name for name in columns if name.startswith("output_p")]
    logs = np.array(
        [
            [np.log(max(1.0, float(np.median(columns[name][rows])))) for name in inputs + outputs]
            for rows in _groups(columns)
        ]
    )
    member = k_means(logs, TOKEN_SHAPES)
    print(f"TOKEN_PROBABILITIES: Final = {tuple(float(name[7:]) / 100 for name in inputs)}")
    print("TOKEN_SHAPES: Final = (")
    for shape in np.argsort(-np.bincount(member)):
        center = np.exp(logs[member == shape].mean(axis=0)).round().astype(int).tolist()
        print("    TokenShape(")
        print(f"        weight={np.mean(member == shape):.3f},")
        print(f"        input_tokens={tuple(center[: len(inputs)])},")
        print(f"        output_tokens={tuple(center[len(inputs) :])},")
        print("    ),")
    print(")")


def k_means(points: Floats, groups: int) -> NDArray[np.int64]:
    """The best of several seeded starts of Lloyd's algorithm; returns the group of each point."""
    rng = np.random.default_rng(0)
    best, best_cost = np.zeros(len(points), np.int64), np.inf
    for _ in range(RESTARTS):
        centers = points[rng.choice(len(points), groups, replace=False)]
        for _ in range(100):
            distance = ((points[:, None] - centers) ** 2).sum(axis=2)
            member = distance.argmin(axis=1)
            fresh = np.array(
                [points[member == one].mean(axis=0) if np.any(member == one) else centers[one] for one in range(groups)]
            )
            if np.allclose(fresh, centers):
                break
            centers = fresh
        if (cost := distance.min(axis=1).sum()) < best_cost:
            best, best_cost = member, cost
    return best


if __name__ == "__main__":
    main()
