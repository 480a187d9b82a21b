"""When the keys of this benchmark are used, and how long their requests are: published windows, or fitted ones.

ServeGen publishes for each client and active 10-minute window a rate and the shape of the gaps, and for each six
hours the quantiles of the lengths. Where its files are absent the simulator's keys, fitted to the same trace, stand in.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.csv
from numpy.typing import NDArray

from benchmarks.containment.columns import START_MS, Floats, Ints, Mask
from sources.simulator.arrivals import Windows
from sources.simulator.fitted import WINDOW_S
from sources.simulator.keys import make_keys
from sources.simulator.prices import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS
from sources.simulator.use import token_table

DATA: Final = Path(os.environ.get("KEYFUSE_DATA") or Path(__file__).parents[3] / "shared" / "data")
DAYS: Final = 14
_BLOCK_S: Final = 6 * 3600
_STAND_INS: Final = 205
_LEAST_GAP: Final = 1e-12  # a Gamma of small shape underflows to zero
_STREAM: Final = 11


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Active windows of all clients, one row each, and the lengths of their requests."""

    source: str
    names: tuple[str, ...]
    client: Ints  # place in `names`
    t_s: Ints  # window's start since the trace's
    rate_rps: Floats
    shape: Floats  # of the gaps
    weibull: Mask  # else Gamma
    lengths: Ints  # row of the two tables
    log_input: Floats  # [row, quantile] at TOKEN_PROBABILITIES
    log_output: Floats

    @property
    def totals(self) -> Floats:
        """Requests of each client over all days."""
        return np.bincount(self.client, self.rate_rps * WINDOW_S, minlength=len(self.names)).astype(float)

    def offsets_s(self, rows: Ints, counts: Ints, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """Places in `rows` and seconds after each window's start of `counts` requests, as bursty as published.

        n requests take n + 1 gaps of the window's shape, scaled to fill it.
        """
        slots = counts + 1
        owner = np.repeat(np.arange(len(rows)), slots)
        shape, weibull = self.shape[rows][owner], self.weibull[rows][owner]
        gaps = np.empty(len(owner))
        gaps[weibull] = rng.standard_exponential(int(weibull.sum())) ** (1 / shape[weibull])
        gaps[~weibull] = rng.standard_gamma(shape[~weibull])
        gaps = np.maximum(gaps, _LEAST_GAP)
        ends = np.cumsum(slots)
        total = np.add.reduceat(gaps, ends - slots)
        passed = np.cumsum(gaps / np.repeat(total, slots)) - owner
        keep = np.ones(len(owner), bool)
        keep[ends - 1] = False
        into_window = np.clip(passed[keep], 0.0, 1.0 - 1e-9) * float(WINDOW_S)
        return owner[keep].astype(np.int64), into_window.astype(np.float64)


def arrivals(seed: int) -> Arrivals:
    """The published ones where the data is; `source` says which."""
    return _published() if (DATA / "servegen").is_dir() else _fitted(seed)


def _published() -> Arrivals:
    rates = _columns("rates.csv.gz")
    rates = {name: column[rates["t_s"] < DAYS * 86_400] for name, column in rates.items()}
    names, client = np.unique(_names(rates), return_inverse=True)
    shape = rates["param1"].astype(float)
    known = np.isfinite(shape) & (shape > 0)
    tokens = _columns("tokens.csv.gz")
    place = {str(name): at for at, name in enumerate(names)}
    of = np.array([place.get(str(name), -1) for name in _names(tokens)])
    sides = [[name for name in tokens if name.startswith(side)] for side in ("input_p", "output_p")]
    tables = [
        np.log(np.clip(_with_median(np.stack([tokens[name] for name in side], axis=1)), 1.0, cap))
        for side, cap in zip(sides, (MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS), strict=True)
    ]
    t_s = rates["t_s"].astype(np.int64)
    return Arrivals(
        source=f"{len(names)} clients of the ServeGen trace",
        names=tuple(str(name) for name in names),
        client=client.astype(np.int64),
        t_s=t_s,
        rate_rps=rates["rate_rps"].astype(float),
        shape=np.where(known, shape, 1.0),
        weibull=known & (rates["arrival"].astype(str) == "Weibull"),
        lengths=_nearest(of, tokens["t_s"].astype(np.int64), client, t_s, missing=len(of)),
        log_input=tables[0],
        log_output=tables[1],
    )


def _with_median(table: Floats) -> Floats:
    """One row more, for clients without any."""
    return np.concatenate((table, np.median(table, axis=0, keepdims=True)))


def _nearest(of: Ints, at_s: Ints, client: Ints, t_s: Ints, *, missing: int) -> Ints:
    """For each window the row of lengths of its client that is nearest in time."""
    order = np.lexsort((at_s, of))
    code = of[order] * 10_000_000 + at_s[order]
    wanted = client * 10_000_000 + t_s // _BLOCK_S * _BLOCK_S
    right = np.searchsorted(code, wanted).clip(0, len(code) - 1)
    left = np.maximum(right - 1, 0)
    both = order[np.stack((left, right))]
    far = np.abs(at_s[both] - t_s) + (of[both] != client) * 1e12
    chosen = np.where(far[0] < far[1], both[0], both[1])
    found: Ints = np.where(np.minimum(far[0], far[1]) < 1e12, chosen, missing)
    return found


def _fitted(seed: int) -> Arrivals:
    """Keys of the simulator, window by window."""
    keys = make_keys(_STAND_INS, seed=seed)
    rng = np.random.default_rng((seed, _STREAM))
    windows = Windows([key.rhythm for key in keys], rng)
    starts = range(0, DAYS * 86_400, WINDOW_S)
    rates = np.stack([windows.next_rates(START_MS + t_s * 1000, rng) for t_s in starts])
    at, client = np.nonzero(rates)
    return Arrivals(
        source=f"{len(keys)} made-up keys: there is no ServeGen trace in {DATA}; set KEYFUSE_DATA to the data folder",
        names=tuple(key.key_id for key in keys),
        client=client.astype(np.int64),
        t_s=at.astype(np.int64) * WINDOW_S,
        rate_rps=rates[at, client],
        shape=np.array([key.rhythm.gaps.shape for key in keys])[client],
        weibull=np.array([key.rhythm.gaps.family == "weibull" for key in keys])[client],
        lengths=client.astype(np.int64),
        log_input=np.log([token_table(key.use.tokens.input_tokens, 1.0, MAX_INPUT_TOKENS) for key in keys]),
        log_output=np.log([token_table(key.use.tokens.output_tokens, 1.0, MAX_OUTPUT_TOKENS) for key in keys]),
    )


def _columns(name: str) -> dict[str, NDArray[Any]]:
    table = pyarrow.csv.read_csv(DATA / "servegen" / name)
    return {column: table[column].to_numpy() for column in table.column_names}


def _names(columns: dict[str, NDArray[Any]]) -> NDArray[np.str_]:
    return np.char.add(np.char.add(columns["pool"].astype(str), "/"), columns["client"].astype(str))
