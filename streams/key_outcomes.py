"""Which outcomes say something of a key's life: cuts that have ended, however. Pure."""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from containment.ladder import CUTS
from schemas.records import Outcome, StepState

_UNDER_WAY: Final = frozenset({StepState.REQUESTED, StepState.IN_FLIGHT})


def cut_of(value: bytes) -> Outcome | None:
    """None for what is under way, what is no cut, and what is no outcome, which the archive buries."""
    try:
        outcome = Outcome.from_bytes(value)
    except ValidationError:
        return None
    return outcome if outcome.step in CUTS and outcome.state not in _UNDER_WAY else None
