"""How soon the ingest reads again. Pure. See docs/adr/0034-little-is-gathered.md."""

from __future__ import annotations

import math
from typing import Final

GATHER_S: Final = 0.05
MUCH: Final = 8_192
"""Records or rows in one turn: from here on there is a backlog, and nothing to wait for."""


class Pace:
    """Turns begin `GATHER_S` apart or more while they find little: a turn, and each frame that it makes, costs the same
    for ten rows as for some hundred.

    >>> pace = Pace()
    >>> pace.wait_s(10.0)  # the first one waits for nothing
    0.0
    >>> pace.began(10.0)
    >>> pace.read(records=100, rows=98)
    >>> round(pace.wait_s(10.02), 3)
    0.03
    >>> pace.read(records=100, rows=MUCH)
    >>> pace.wait_s(10.02)
    0.0
    """

    def __init__(self) -> None:
        self._began_s = -math.inf
        self._found = 0

    def wait_s(self, now_s: float) -> float:
        """From now until the next turn may begin."""
        return 0.0 if self._found >= MUCH else max(0.0, self._began_s + GATHER_S - now_s)

    def began(self, now_s: float) -> None:
        """A turn begins; what it reads is not known yet."""
        self._began_s, self._found = now_s, 0

    def read(self, records: int, rows: int) -> None:
        """What it found; a record may hold many rows, or none that is valid."""
        self._found = max(records, rows)
