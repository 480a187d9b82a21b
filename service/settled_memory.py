"""What lives as long as the process is not looked at again by the garbage collection."""

from __future__ import annotations

import gc
from typing import Final

GATE: Final = (700, 1_000_000, 1_000_000)
"""Short looks at young objects, none at old ones: those would hold up every call under way. A look at 5,000 takes more
than a millisecond."""


def settle_memory(*thresholds: int) -> None:
    """Freeze all there is. `thresholds` as of `gc.set_threshold`: how often newer objects are looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)
