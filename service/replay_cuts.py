"""The cuts of a closed loop: which events they stop, and what each key cost until its cut. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from containment.ladder import CUTS
from schemas.records import Command, Incident, Step

_NEVER_MS = int(np.iinfo(np.int64).max)


class Contained(NamedTuple):
    """One key that was cut: the bill from its first suspicious second to the cut."""

    key_id: str
    step: Step
    seconds: float
    usd: float  # all it spent in that time, its normal use included
    lost_usd: float  # what of it was above normal, as the incident counts
    headline: str
    incident_id: str
    cut_at_ms: int


class Cuts:
    """The first cut of each key. Nothing gives a key back during a replay."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[Command, int]] = {}

    def note(self, command: Command, at_ms: int) -> None:
        """A command takes effect at `at_ms`; a softer step than a cut stops nothing."""
        if command.step in CUTS:
            self._first.setdefault(command.key_id, (command, at_ms))

    def without_cut(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that still happen: those not later than their key's cut."""
        if not self._first:
            return rows
        keys = rows["key_id"]
        at_ms = [self._first[key][1] if key in self._first else _NEVER_MS for key in keys.dictionary.to_pylist()]
        keep = rows["ts_ms"].to_numpy() <= np.array(at_ms, np.int64)[keys.indices.to_numpy()]
        return rows if keep.all() else rows.filter(pa.array(keep))

    def contained(self, rows: pa.RecordBatch, incidents: Mapping[str, Incident]) -> list[Contained]:
        """The bill of each cut key, in the order of the cuts. `rows` are those that happened."""
        cuts = sorted(self._first.values(), key=lambda cut: (cut[1], cut[0].key_id))
        return [_bill(command, at_ms, rows, incidents[command.incident_id]) for command, at_ms in cuts]


def _bill(command: Command, cut_at_ms: int, rows: pa.RecordBatch, incident: Incident) -> Contained:
    since_ms = incident.opened_at_ms
    spent = rows["cost_nano_usd"].to_numpy()[_rows_of(command.key_id, rows) & (rows["ts_ms"].to_numpy() >= since_ms)]
    return Contained(
        command.key_id, command.step, (cut_at_ms - since_ms) / 1000, int(spent.sum()) / 1e9, incident.lost_usd,
        incident.headline, command.incident_id, cut_at_ms,
    )  # fmt: skip


def _rows_of(key_id: str, rows: pa.RecordBatch) -> NDArray[np.bool_]:
    keys = rows["key_id"]
    mine: NDArray[np.bool_] = keys.indices.to_numpy() == keys.dictionary.to_pylist().index(key_id)
    return mine
