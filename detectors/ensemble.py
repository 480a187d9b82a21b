"""All detector modules: one place to add a family to."""

from __future__ import annotations

from types import ModuleType
from typing import Final, cast

from detectors import budget, cohort, drift, economics, errors, limits, mix, origin, repetition, rhythm, velocity
from detectors.close import Detector
from schemas.config.detectors import DetectorsConfig

MODULES: Final[dict[str, ModuleType]] = {
    "limits": limits, "budget": budget,
    "velocity": velocity, "mix": mix, "origin": origin,
    "economics": economics, "rhythm": rhythm, "errors": errors, "drift": drift,
    "repetition": repetition, "cohort": cohort,
}  # fmt: skip
"""By the name of their settings, in the order in which they step."""
BY_FAMILY: Final[dict[str, ModuleType]] = {module.FAMILY: module for module in MODULES.values()}


def detectors_in_force(settings: DetectorsConfig) -> dict[str, Detector]:
    """The detectors switched on, by family."""
    return {
        module.FAMILY: cast(Detector, module)
        for name, module in MODULES.items()
        if getattr(settings, name).enabled
    }  # fmt: skip
