"""The core of one partition of the score stage, under the settings of an install."""

from __future__ import annotations

from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from service.install import Install


def new_core(install: Install, partition: int, settings: DetectorsConfig | None = None) -> ScoreCore:
    """With these detectors, or those in force. Keys and policies are the install's own, read anew with its folder."""
    return ScoreCore(
        settings or install.folder.detectors, partition=partition, shards=install.folder.wiring.state.shards,
        facts_of=install.facts_of, forbidden=install.forbidden, watch_of=install.watch_of,
    )  # fmt: skip
