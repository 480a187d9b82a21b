"""Kinds of evidence, and how one supports another: two things that are each a little odd are odder together.

A thief shows in several ways at once, a healthy change mostly in one: a new office in its network, a launch in its
volume. So each family's score is lifted by what other kinds of evidence say in the same second. Families of one
kind (`schemas.records.EVIDENCE`) do not support each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from detectors.state import Array
from schemas.records import EVIDENCE

SUPPORTS_FROM: Final = 2.0  # a score below this (ten times a week on a healthy key) supports nothing
SUPPORTED_FROM: Final = 3.3  # and one below this (once in two weeks) is told by no support
WEIGHT: Final = 0.5  # of what the other's score is above that


def lifts(scores: Mapping[str, Array]) -> dict[str, Array]:
    """What to add to each family's own score: of each kind of evidence it has no part in, the strongest voice.

    >>> own = {"velocity": np.array([4.0, 3.0]), "origin": np.array([4.0, 1.0]), "economics": np.array([3.5, 4.0])}
    >>> {family: lift.tolist() for family, lift in lifts(own).items()}
    {'velocity': [1.0, 0.0], 'origin': [1.0, 0.0], 'economics': [1.0, 0.0]}
    """
    above = {family: np.maximum(score - SUPPORTS_FROM, 0.0) for family, score in scores.items()}
    lifted = {}
    for family, score in scores.items():
        kinds: dict[frozenset[str], Array] = {}
        for other, value in above.items():
            if not EVIDENCE[other] & EVIDENCE[family]:
                kinds[EVIDENCE[other]] = np.maximum(kinds.get(EVIDENCE[other], value), value)
        lift = sum(_independent(kinds), start=np.zeros(len(score)))
        lifted[family] = np.where(score >= SUPPORTED_FROM, WEIGHT * lift, 0.0)
    return lifted


def _independent(kinds: Mapping[frozenset[str], Array]) -> list[Array]:
    """Voices that share something count once, as the stronger of them."""
    narrow = {kind: value for kind, value in kinds.items() if len(kind) == 1}
    for kind, value in kinds.items():
        if len(kind) > 1:
            part = next((one for one in narrow if one <= kind), kind)
            narrow[part] = np.maximum(narrow.get(part, value), value)
    return list(narrow.values())
