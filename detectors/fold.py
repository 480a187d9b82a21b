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
_SHOWN: Final = frozenset({"policy", "budget", "velocity", "mix", "origin"})
"""Families that a finding of what is certain speaks of: the limits, what is usual, and what its sketch says is new."""


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
        slots = r.keys(rows)
        close = self._enter(self._table, rows, slots, slots, block)
        states: dict[str, State] = {}
        raws: dict[str, Array] = {}
        for family, detector in self._detectors.items():
            before = self._table.take(detector.FIELDS, slots)
            states[family], raws[family] = detector.step(before, close, self._settings)
            self._table.put(slots, states[family])
        self._keep_peaks(slots, close, raws)
        return Wave(slots, close, states, raws, self._table.columns, slots)

    def preview(self, rows: Array, slots: Array, block: int) -> Wave:
        """What `fold` would return if the second ended with these rows, as far as findings of what is certain show it.

        It changes nothing. Rows name their key by its place in `slots`, where each has at least one; a key may be there
        several times.
        """
        part, places = self._table.part(slots), np.arange(len(slots))
        close = self._enter(part, rows, places, slots, block)
        states: dict[str, State] = {}
        raws: dict[str, Array] = {}
        for family in _SHOWN & self._detectors.keys():
            detector = self._detectors[family]
            states[family], raws[family] = detector.step(part.take(detector.FIELDS, places), close, self._settings)
        return Wave(slots, close, states, raws, part.columns, places)

    def _enter(self, table: KeyTable, rows: Array, places: Array, slots: Array, block: int) -> Close:
        """The rows in the windows and sketches of the keys, which stand at these places of the table."""
        placed, second = self._placed(places, rows), np.zeros(len(slots), np.int64)
        second[placed[r.SLOT]] = rows[r.SECOND]
        rings.turn(table.columns, places, second)
        rings.fold(table.columns, rows)
        close = self._close(table.columns, places, slots, placed, second, block)
        sketch.fold(table.columns, places, close, rows)
        return close

    def _placed(self, places: Array, rows: Array) -> Array:
        """The rows with places in the wave instead of the table's."""
        if len(self._place) <= int(places[-1]):
            self._place = np.zeros(int(places[-1]) + self._table.size // 2 + 1, np.int64)
        self._place[places] = np.arange(len(places))
        placed = rows.copy()
        placed[r.SLOT] = self._place[rows[r.SLOT]]
        return placed

    def _close(self, columns: State, at: Array, slots: Array, rows: Array, second: Array, block: int) -> Close:
        """The second of keys that stand at these places of a table and have these slots."""
        n = len(slots)
        last = columns["key_block"][at].astype(np.int64)
        elapsed = np.where(last > 0, block - last, 0)
        windows = columns["key_windows"][at].astype(np.int64) + (elapsed > 0)
        made = np.zeros(n, np.int64)
        np.add.at(made, rows[r.SLOT], rows[r.REQUESTS])
        requests = np.minimum(columns["key_requests"][at] + made, _MOST)
        peak = self._turn(columns, at, elapsed, last)
        columns["key_block"][at], columns["key_windows"][at] = block, windows
        columns["key_requests"][at], columns["key_seen"][at] = requests, second
        return Close(
            second=second, block=block, elapsed=elapsed, windows=windows, requests=requests,
            sums=rings.sums(columns, at, second), caps=self._book.columns["caps"][slots], ended_peak=peak,
            salt=self._book.columns["salt"][slots], rows=rows, confirmed=self._confirmed(slots, second),
        )  # fmt: skip

    def _turn(self, columns: State, slots: Array, elapsed: Array, last: Array) -> Array:
        """Peaks of the blocks that ended; where the cohort may have learned a high one, remember when."""
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
