"""Everyday traffic of many keys, in time order, one 600-s window at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sources.simulator.arrivals import Spreader, Windows
from sources.simulator.events import Event, Speaker, Voices
from sources.simulator.fitted import WINDOW_S
from sources.simulator.keys import SimKey

_NEVER_MS = 1 << 62
_STREAM = 1  # keeps the draws of traffic apart from those of thefts with the same seed


def generate(
    keys: Sequence[SimKey],
    *,
    start_ms: int,
    duration_s: float,
    seed: int,
    rate_scale: float = 1.0,
    priced: bool = False,
) -> Iterator[Event]:
    """Native events from `start_ms` (epoch) on. The same arguments give the same events; a longer run begins alike.

    `rate_scale` multiplies every key's rate and keeps its rhythm. `priced` writes `cost_usd`; it is always written
    for keys that report another provider than the one whose models they use, because no table knows their price.
    Holds one window of requests as columns and at most ROWS_AT_ONCE of them as dicts.
    """
    if not keys:
        return
    rng = np.random.default_rng((seed, _STREAM))
    windows = Windows([key.rhythm for key in keys], rng)
    spreader = Spreader([key.rhythm.gaps for key in keys])
    salt = int(rng.integers(1 << 62))
    voices = Voices([Speaker(key, key.use) for key in keys], id_salt=salt, priced=priced)
    until_ms = np.array([_NEVER_MS if key.active_until_ms is None else key.active_until_ms for key in keys])
    end_ms = start_ms + int(duration_s * 1000)
    for window_ms in range(start_ms, end_ms, WINDOW_S * 1000):
        counts = rng.poisson(windows.next_rates(window_ms, rng) * WINDOW_S * rate_scale)
        who, offset_s = spreader.offsets(counts, rng)
        ts_ms = window_ms + (offset_s * 1000).astype(np.int64)
        # Draws of requests beyond the end are made too, then cut: so a longer run begins alike.
        asleep = ts_ms >= until_ms[who]
        for event in voices.events(who[~asleep], ts_ms[~asleep], rng):
            if event["ts"] < end_ms:
                yield event
