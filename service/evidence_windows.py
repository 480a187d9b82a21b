"""What a key used, minute by minute, added up from its events: rollups are not under legal hold. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from storage.seen import RETRY_WINDOW_MS

_SUMS: Final = ("requests", "errors", "input_tokens", "output_tokens", "cost_nano_usd")


class Minute(BaseModel):
    """What the key used within one minute that begins at `at_ms`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_ms: int
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    usd: float
    networks: int


def minutes_of(events: pa.Table) -> tuple[Minute, ...]:
    """Oldest first, of rows as `events_of` gives them; minutes without use are absent."""
    if not events.num_rows:
        return ()
    counted = events.filter(pa.array(~_retries(events)))
    failed = pc.or_(pc.greater_equal(counted["status"], 400), pc.not_equal(counted["error"], ""))
    rows = pa.table(
        {
            "at": pa.array(counted["ts_ms"].to_numpy() // 60_000 * 60_000),
            "errors": pc.if_else(failed, counted["requests"], 0),
            "network": pc.if_else(pc.equal(counted["network"], ""), pa.scalar(None, pa.string()), counted["network"]),
            **{name: counted[name] for name in _SUMS if name != "errors"},
        }
    )
    added = rows.group_by("at").aggregate([*((name, "sum") for name in _SUMS), ("network", "count_distinct")])
    return tuple(
        Minute(
            at_ms=row["at"], requests=row["requests_sum"], errors=row["errors_sum"],
            input_tokens=row["input_tokens_sum"], output_tokens=row["output_tokens_sum"],
            usd=row["cost_nano_usd_sum"] / 1e9, networks=row["network_count_distinct"],
        )
        for row in added.sort_by("at").to_pylist()
    )  # fmt: skip


def _retries(events: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows of an event that is there with an earlier time, at most fifteen minutes before: its producer's retry."""
    times = events["ts_ms"].to_numpy()
    names = events["event_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((times, names))
    again = np.zeros(len(times), np.bool_)
    near = (np.diff(names[order]) == 0) & (np.diff(times[order]) <= RETRY_WINDOW_MS)
    again[order[1:]] = near
    return again
