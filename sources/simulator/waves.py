"""Waves: a stretch of requests by one thief with one key. A theft is a few of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sources.simulator.arrivals import POISSON, Gaps, Spreader, day_factors
from sources.simulator.events import Event, Speaker, Voices
from sources.simulator.keys import SimKey
from sources.simulator.use import Use

_MINUTE_MS: Final = 60_000
_LONG_STEPS: Final = 10  # minutes drawn at once in a theft of many hours
_LONG_MS: Final = 6 * 3_600_000
_STREAM: Final = 2  # keeps the draws of thefts apart from those of traffic with the same seed
_DAY: Final = day_factors()


@dataclass(frozen=True)
class Wave:
    """Requests at a rate that stays, or that grows by the same factor each minute from `rps` to `rps_at_end`."""

    key: SimKey
    use: Use
    start_ms: int
    duration_s: float
    rps: float
    rps_at_end: float | None = None
    gaps: Gaps = POISSON
    day_shape: int = 0  # a patient thief hides in the key's own day

    @property
    def end_ms(self) -> int:
        """First millisecond after the wave."""
        return self.start_ms + int(self.duration_s * 1000)

    def requests(self, first_ms: float, last_ms: float) -> float:
        """Expected requests between two moments within the wave, which are at most minutes apart."""
        growth = math.log((self.rps_at_end or self.rps) / self.rps) / self.duration_s
        middle_ms = (first_ms + last_ms) / 2
        day = _DAY[self.day_shape, int(middle_ms // 3_600_000) % 24]
        return float(
            self.rps * math.exp(growth * (middle_ms - self.start_ms) / 1000) * day * (last_ms - first_ms) / 1000
        )


def play(waves: Sequence[Wave], *, seed: Sequence[int], priced: bool = False) -> Iterator[Event]:
    """The events of all waves together, in time order, drawn in steps of a minute, or of ten in a long theft."""
    rng = np.random.default_rng((_STREAM, *seed))
    voices = Voices([Speaker(wave.key, wave.use) for wave in waves], id_salt=int(rng.integers(1 << 62)), priced=priced)
    spreader = Spreader([wave.gaps for wave in waves])
    begin_ms = np.array([wave.start_ms for wave in waves])
    end_ms = np.array([wave.end_ms for wave in waves])
    start_ms, stop_ms = int(begin_ms.min()), int(end_ms.max())
    length_ms = _MINUTE_MS * (_LONG_STEPS if stop_ms - start_ms > _LONG_MS else 1)
    for step_ms in range(start_ms, stop_ms, length_ms):
        first_ms = np.clip(begin_ms, step_ms, step_ms + length_ms)
        last_ms = np.clip(end_ms, first_ms, step_ms + length_ms)
        spans = zip(waves, first_ms.tolist(), last_ms.tolist(), strict=True)
        expected = [wave.requests(first, last) for wave, first, last in spans]
        who, part = spreader.offsets(rng.poisson(expected), rng, length_s=1.0)
        yield from voices.events(who, first_ms[who] + (part * (last_ms - first_ms)[who]).astype(np.int64), rng)
