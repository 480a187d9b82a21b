"""The hard negatives of the benchmark: thirteen kinds of healthy change that look like a theft, in fifteen cases.

A builder takes a case (world, key, earliest start, dice) and gives the key's own traffic as it would be, or None where
this key cannot have this change. Two need a world with successors: `key_rotation` and `new_key_first_day`.
"""

from __future__ import annotations

from typing import Final

from benchmarks.containment import negative_changes, negative_surges
from benchmarks.containment.negative_case import Build, Negative, with_successors

__all__ = ["NEGATIVES", "Build", "Negative", "with_successors"]

NEGATIVES: Final[dict[str, Build]] = {
    "nightly_batch_new": negative_surges.nightly_batch_new,
    "nightly_batch_usual": negative_surges.nightly_batch_usual,
    "month_end": negative_surges.month_end,
    "load_test": negative_surges.load_test,
    "release_day": negative_surges.release_day,
    "retry_storm": negative_changes.retry_storm,
    "cache_flush": negative_changes.cache_flush,
    "new_model_gradual": negative_changes.new_model_gradual,
    "new_model_at_once": negative_changes.new_model_at_once,
    "backfill": negative_surges.backfill,
    "key_rotation": negative_changes.key_rotation,
    "daylight_saving": negative_changes.daylight_saving,
    "launch_ramp": negative_surges.launch_ramp,
    "new_key_first_day": negative_changes.new_key_first_day,
    "holiday": negative_changes.holiday,
}
