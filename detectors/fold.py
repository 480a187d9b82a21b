"""Closing seconds: fold a wave of rows into the windows, let each detector step, keep the keys' own books."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors import rings, sketch
from detectors import rows as r
from detectors.close import KEY_FIELDS, Close
from detectors.ensemble import MODULES, detectors_in_force
from detectors.families import LEARN_CAPS, PEAKED
from detectors.keys import KeyBook
from detectors.population import TAIL_BLOCKS
from detectors.state import Array, Fields, KeyTable, State
from detectors.wave import Wave
from schemas.config.detectors import DetectorsConfig

_MOST: Final = np.iinfo(np.int32).max

FIELDS: Final[Fields] = {
    **KEY_FIELDS,
    **rings.FIELDS,
    **sketch.FIELDS,
    **{name: field for module in MODULES.values() for name, field in module.FIELDS.items()},
}
"""All state of a key."""


class Folder:
    """Folds waves into one table of keys."""

    def __init__(
        self, settings: DetectorsConfig, table: KeyTable, book: KeyBook,
        confirmed: Callable[[Array, Array], Array | None],
    ) -> None:  # fmt: skip
        self._table, self._book, self._confirmed = table, book, confirmed
        self._place = np.zeros(0, np.int64)
        self.reconfigure(settings)

    def reconfigure(self, settings: DetectorsConfig) -> None:
        self._settings = settings
        self._detectors = detectors_in_force(settings)

    def fold(self, rows: Array, block: int) -> Wave:
        """One second of each key of the wave: windows, scores, learning."""
        slots = np.unique(rows[r.SLOT])
        rings.fold(self._table.columns, rows)
        close = self._close(slots, self._placed(slots, rows), block)
        sketch.fold(self._table.columns, slots, close, rows)
        states: dict[str, State] = {}
        raws: dict[str, Array] = {}
        for family, detector in self._detectors.items():
            before = self._table.take(detector.FIELDS, slots)
            states[family], raws[family] = detector.step(before, close, self._settings)
            self._table.put(slots, states[family])
        self._keep_peaks(slots, close, raws)
        return Wave(slots, close, states, raws, self._table.columns)

    def _placed(self, slots: Array, rows: Array) -> Array:
        """The rows with places in the wave instead of slots."""
        if len(self._place) < self._table.size:
            self._place = np.zeros(self._table.size + self._table.size // 2, np.int64)
        self._place[slots] = np.arange(len(slots))
        placed = rows.copy()
        placed[r.SLOT] = self._place[rows[r.SLOT]]
        return placed

    def _close(self, slots: Array, rows: Array, block: int) -> Close:
        columns, n = self._table.columns, len(slots)
        last = columns["key_block"][slots].astype(np.int64)
        elapsed = np.where(last > 0, block - last, 0)
        windows = columns["key_windows"][slots].astype(np.int64) + (elapsed > 0)
        made = np.zeros(n, np.int64)
        np.add.at(made, rows[r.SLOT], rows[r.REQUESTS])
        requests = np.minimum(columns["key_requests"][slots] + made, _MOST)
        second = np.zeros(n, np.int64)
        second[rows[r.SLOT]] = rows[r.SECOND]
        peak = self._turn(slots, elapsed, last)
        columns["key_block"][slots], columns["key_windows"][slots] = block, windows
        columns["key_requests"][slots], columns["key_seen"][slots] = requests, second
        return Close(
            second=second, block=block, elapsed=elapsed, windows=windows, requests=requests,
            sums=rings.sums(columns, slots, second), caps=self._book.columns["caps"][slots], ended_peak=peak,
            salt=self._book.columns["salt"][slots], rows=rows, confirmed=self._confirmed(slots, second),
        )  # fmt: skip

    def _turn(self, slots: Array, elapsed: Array, last: Array) -> Array:
        """Peaks of the blocks that ended; where the cohort may have learned a high one, remember when."""
        columns = self._table.columns
        peak = columns["key_peak"][slots]
        turned = np.flatnonzero(elapsed > 0)
        if len(turned):
            at, ended = slots[turned], last[turned][:, None]
            tail = columns["key_tail"][at]
            told = (peak[turned] > np.array(LEARN_CAPS)) & (ended - tail >= TAIL_BLOCKS)
            columns["key_tail"][at] = np.where(told, ended, tail)
            columns["key_peak"][at] = 0
        return peak

    def _keep_peaks(self, slots: Array, close: Close, raws: dict[str, Array]) -> None:
        columns = self._table.columns
        for at, family in enumerate(PEAKED):
            if family in raws:
                columns["key_peak"][slots, at] = np.maximum(columns["key_peak"][slots, at], raws[family])
