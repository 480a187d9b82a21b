"""Real request traces as native events: times, counts and lengths are the trace's, all else is made up.

The traces are no part of this repository. They are read from the folder KEYFUSE_DATA, else `../shared/data` beside
the repository; tests that need one carry `needs("servegen")` and are skipped, with the path in the reason, without it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.csv
import pytest
from numpy.typing import NDArray

from sources.simulator.arrivals import Gaps, Ints, Spreader
from sources.simulator.events import Event, Speaker, Voices
from sources.simulator.fitted import TokenShape
from sources.simulator.keys import make_keys

DATA: Final = Path(os.environ.get("KEYFUSE_DATA") or Path(__file__).parents[2] / "shared" / "data")
START_MS: Final = 1_793_577_600_000  # 2026-11-02, a Monday: ServeGen's dates were removed
WINDOW_S: Final = 600
BLOCK_S: Final = 6 * 3600  # ServeGen gives token lengths per six hours
MOONCAKE_BLOCK_TOKENS: Final = 512

Columns = dict[str, NDArray[Any]]


def needs(folder: str) -> pytest.MarkDecorator:
    """Skips a test when the trace is absent."""
    return pytest.mark.skipif(
        not (DATA / folder).is_dir(), reason=f"no trace in {DATA / folder}; set KEYFUSE_DATA to the folder of traces"
    )


def servegen_clients() -> list[str]:
    """Names of all 205 clients, like `m-large/7`, the busiest (most active windows) first."""
    names, windows = np.unique(_names(columns_of("servegen/rates.csv.gz")), return_counts=True)
    return [str(name) for name in names[np.argsort(-windows, kind="stable")]]


def servegen_events(
    *, clients: Sequence[str], days: tuple[int, int] = (0, 14), thin: float = 1.0, seed: int = 0
) -> Iterator[Event]:
    """One event per request of these clients, key_id = `servegen/` + client, in time order.

    Each published window gets its published number of requests, spread by the published Gamma or Weibull shape;
    lengths follow the quantiles of the client's nearest six-hour block. A published Weibull shape gives less burst
    than the coefficient of variation published beside it (3 against 9 in the burstiest client).

    `thin` keeps one request in so many, each by its own draw: clients of hundreds of requests a second need it.
    `days` counts from the trace's start.
    """
    rates = _rows_of(columns_of("servegen/rates.csv.gz"), clients, days)
    tokens = columns_of("servegen/tokens.csv.gz")
    token_names = _names(tokens)
    rng = np.random.default_rng((seed, 3))
    keys = [
        replace(key, key_id=f"servegen/{client}", use=replace(key.use, fruitless=(), input_factor=1, output_factor=1))
        for key, client in zip(make_keys(len(clients), seed=seed), clients, strict=True)
    ]
    block_rows = [np.flatnonzero(token_names == client) for client in clients]
    for block_s in range(days[0] * 86_400, days[1] * 86_400, BLOCK_S):
        speakers = [
            Speaker(key, replace(key.use, tokens=_token_shape(tokens, rows, block_s)))
            for key, rows in zip(keys, block_rows, strict=True)
        ]
        voices = Voices(speakers, id_salt=int(rng.integers(1 << 62)))
        for window_s in range(block_s, block_s + BLOCK_S, WINDOW_S):
            now = np.flatnonzero(rates["t_s"] == window_s)
            who, ts_ms = _window(rates, now, thin, rng)
            yield from voices.events(who, START_MS + ts_ms, rng)


def azure_events() -> Iterator[Event]:
    """28,185 requests of two services within one hour of 2023-11-16, keys `azure/code` and `azure/conv`."""
    parts = [columns_of(f"azure-llm/AzureLLMInferenceTrace_{service}.csv") for service in ("code", "conv")]
    who = np.repeat([0, 1], [len(part["TIMESTAMP"]) for part in parts])
    ts_ms = np.concatenate([part["TIMESTAMP"].astype("datetime64[ms]").astype(np.int64) for part in parts])
    asked = np.concatenate([part["ContextTokens"] for part in parts])
    answered = np.concatenate([part["GeneratedTokens"] for part in parts])
    return _exact(["azure/code", "azure/conv"], who, ts_ms, np.stack([asked, np.zeros_like(asked), answered]))


def mooncake_events() -> Iterator[Event]:
    """12,031 requests of one chat service within one hour, key `mooncake/chat`.

    Leading blocks of 512 tokens that an earlier request had too count as cached input.
    """
    with gzip.open(DATA / "mooncake" / "conversation_trace.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    seen: set[int] = set()
    cached = []
    for row in rows:
        known = next((at for at, block in enumerate(row["hash_ids"]) if block not in seen), len(row["hash_ids"]))
        cached.append(min(known * MOONCAKE_BLOCK_TOKENS, row["input_length"]))
        seen.update(row["hash_ids"])
    ts_ms = START_MS + np.array([row["timestamp"] for row in rows])
    tokens = np.array([[row["input_length"] for row in rows], cached, [row["output_length"] for row in rows]])
    return _exact(["mooncake/chat"], np.zeros(len(rows), np.int64), ts_ms, tokens)


def _exact(names: Sequence[str], who: Ints, ts_ms: Ints, tokens: Ints) -> Iterator[Event]:
    """Events whose input, cached and output tokens are given (rows of `tokens`), not drawn."""
    rng = np.random.default_rng(4)
    keys = [replace(key, key_id=name) for key, name in zip(make_keys(len(names), seed=4), names, strict=True)]
    speakers = [Speaker(key, replace(key.use, fruitless=())) for key in keys]
    order = np.argsort(ts_ms, kind="stable")
    events = Voices(speakers, id_salt=len(who)).events(who[order], ts_ms[order], rng)
    for event, (asked, cached, answered) in zip(events, tokens[:, order].T.tolist(), strict=True):
        event |= {"input_tokens": asked, "cached_input_tokens": cached, "output_tokens": answered}
        yield event | {"cache_write_tokens": 0, "reasoning_tokens": 0}


def _window(rates: Columns, now: Ints, thin: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
    if not len(now):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    families = rates["arrival"][now]
    spreader = Spreader(
        [
            Gaps("weibull" if family == "Weibull" else "gamma", float(shape))
            for family, shape in zip(families, rates["param1"][now], strict=True)
        ]
    )
    counts = np.rint(rates["rate_rps"][now] * WINDOW_S).astype(np.int64)
    if thin > 1:
        counts = rng.binomial(counts, 1 / thin)
    row, offset_s = spreader.offsets(counts, rng)
    ts_ms = rates["t_s"][now][row] * 1000 + (offset_s * 1000).astype(np.int64)
    return rates["who"][now][row], ts_ms


def _token_shape(tokens: Columns, rows: Ints, block_s: int) -> TokenShape:
    """The client's block nearest in time; the median of all clients for the few clients without any."""
    quantiles = [
        tuple(
            float(value)
            for value in _nearest(tokens, [name for name in tokens if name.startswith(side)], rows, block_s)
        )
        for side in ("input_p", "output_p")
    ]
    return TokenShape("servegen", 1.0, *quantiles)


def _nearest(tokens: Columns, names: Sequence[str], rows: Ints, block_s: int) -> list[float]:
    if not len(rows):
        return [float(np.median(tokens[name])) for name in names]
    row = rows[np.argmin(np.abs(tokens["t_s"][rows] - block_s))]
    return [float(tokens[name][row]) for name in names]


def _rows_of(columns: Columns, clients: Sequence[str], days: tuple[int, int]) -> Columns:
    place = {client: index for index, client in enumerate(clients)}
    who = np.array([place.get(name, -1) for name in _names(columns).tolist()])
    inside = (columns["t_s"] >= days[0] * 86_400) & (columns["t_s"] < days[1] * 86_400) & (who >= 0)
    return {name: column[inside] for name, column in (columns | {"who": who}).items()}


def _names(columns: Columns) -> NDArray[np.str_]:
    pools, clients = columns["pool"].astype(str), columns["client"].astype(str)
    return np.char.add(np.char.add(pools, "/"), clients)


@cache
def columns_of(path: str) -> Columns:
    """A table of the data folder, by column; read once."""
    table = pyarrow.csv.read_csv(DATA / path)
    return {name: table[name].to_numpy() for name in table.column_names}
