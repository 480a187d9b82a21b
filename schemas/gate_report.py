"""What each gate says of itself, about once a second and whenever it has taken a verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.records import Record


class GateReport(Record):
    """One replica; the newest of each holds."""

    type: Literal["gate"] = "gate"
    replica: str
    at_ms: int  # wall clock of the replica
    started_ms: int
    every_s: float = Field(gt=0)  # it reports at least so often
    verdicts: dict[int, int]  # partition of keyfuse.verdicts -> offset up to which all of it is in force here
    leaving: bool = False  # it stops, and answers nobody any more
