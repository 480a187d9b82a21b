"""How small the pipeline of a history is: everything that it does happens within a few frames."""

from __future__ import annotations

from typing import Final, cast

from pydantic import SecretStr

from benchmarks.sim.remembered import RememberedCore
from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.fingerprint import Fingerprinter
from sources.batch import BatchParser
from sources.pricing import PriceBook
from storage.archive import BatchLimits
from streams.topics import Topics

RAW_PARTITIONS: Final = 2
SHARDS: Final = 3
KEYS: Final = ("key-a", "key-b", "key-d", "key-f")  # in both partitions, and in each in two shards
TOPICS: Final = Topics(partitions=2)
LIMITS: Final = BatchLimits(min_rows=4, max_rows=6, max_age_s=1.0)
PARSER: Final = BatchParser(fingerprinter=Fingerprinter(SecretStr("p")), prices=PriceBook(), max_future_s=None)
_SILENT: Final = ("mix", "origin", "drift", "rhythm", "errors", "economics", "repetition")
SETTINGS: Final = DetectorsConfig.model_validate(
    {
        "limits": {"usd_per_min": 0.5},
        "velocity": {"min_usd_per_min": 0, "alarm_per_key_week": 300},
        "cohort": {"enabled": False, "n_trees": 1, "height": 2},
        "time": {"dedup_s": 3600},
    }
    | {family: {"enabled": False} for family in _SILENT}
)
"""Touchy, so that a few events bring findings; the families that need hours of use are off."""


def new_core(partition: int) -> ScoreCore:
    return ScoreCore(SETTINGS, partition=partition, shards=SHARDS)


def remembered_core(partition: int) -> ScoreCore:
    """The same, as one that answers from memory."""
    return cast("ScoreCore", RememberedCore(partition, new_core))
