"""A closing second by name, for the examples in docstrings and for tests: only what differs is said."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors import rows as r
from detectors.close import Close
from detectors.families import PEAKED
from detectors.rings import WINDOWS
from detectors.state import Fields, State

NOW_S: Final = 1_795_428_000  # a Monday, 10:00 UTC, the start of a 10-minute block


def blank(fields: Fields, keys: int = 1) -> State:
    """State of keys never seen."""
    return {name: np.zeros((keys, *shape), dtype) for name, (dtype, shape) in fields.items()}


def closing(*, keys: int = 1, block: int = NOW_S // 600, **given: Any) -> Close:  # noqa: ANN401 - sums are numbers, the rest are what rows hold
    """One second of `keys` like keys: window sums, `model`, `network`, `country`, `cost_usd`, `row_requests`."""
    sums = np.zeros((keys, 12))
    for name in WINDOWS:
        sums[:, WINDOWS.index(name)] = given.get(name, 0.0)
    rows = np.zeros((r.WIDTH, keys), np.int64)
    rows[r.SLOT] = np.arange(keys)
    rows[r.SECOND] = rows[r.TS] = given.get("second", NOW_S)
    rows[r.REQUESTS] = given.get("row_requests", 1)
    rows[r.TOKENS] = given.get("row_tokens", 0)
    rows[r.COST] = round(given.get("cost_usd", 0.0) * 1e9)
    for name, row in (("row_input", r.INPUT), ("row_cached", r.CACHED), ("refused", r.REFUSED), ("failed", r.FAILED)):
        rows[row] = given.get(name, 0)
    for name, row in (
        ("model", r.MODEL),
        ("endpoint", r.ENDPOINT),
        ("network", r.NETWORK),
        ("country", r.COUNTRY),
        ("agent", r.AGENT),
    ):
        rows[row] = given.get(name, 0)
    return Close(
        second=np.full(keys, given.get("second", NOW_S)), block=block, elapsed=np.full(keys, given.get("elapsed", 0)),
        windows=np.full(keys, given.get("windows", 100)), requests=np.full(keys, given.get("requests", 1000)),
        sums=sums, caps=np.full((keys, 5), given.get("cap", np.inf)),
        ended_peak=np.full((keys, len(PEAKED)), given.get("peak", 0.0)),
        salt=np.arange(keys, dtype="u8") * np.uint64(7), rows=rows,
    )  # fmt: skip
