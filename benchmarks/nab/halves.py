"""What is left of the figures when nothing that is scored was also chosen by: random halves of the files.

Whatever can be chosen (the threshold, or the threshold and the settings) is chosen on one half, and the score of the
other half is reported; then the other way round; the mean over several random halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

import numpy as np

from benchmarks.nab.corpus import Series
from benchmarks.nab.detector import Settings, Voice
from benchmarks.nab.scoring import PROFILES, Floats, Profile, Steps, best, merge, score_at, steps

HALVES: Final = 20
BLOCKS: Final = (36, 50, 72)
_YOUNG: Final = (500.0, 1000.0, 2000.0)
_QUIET: Final = (0.1, 0.15, 0.2, 0.25, 0.3)
_REST: Final = (80, 100, 120)
_LOUDER: Final = (2.0, 3.0, 5.0)

Files = Sequence[Steps]


def said(news: Floats, settings: Settings) -> Floats:
    """Scores of one series from its news: what the detector gives with these settings."""
    scores = np.zeros(len(news))
    voice = Voice(settings)
    at = np.flatnonzero(news >= settings.quiet)  # the strength is never above the news
    scores[at] = [voice.say(*point) for point in zip(at.tolist(), news[at].tolist(), strict=True)]
    return scores


def neighbours() -> list[Settings]:
    """The settings that are chosen among, the default being one of them."""
    axes = product(BLOCKS, _YOUNG, _QUIET, _REST, _LOUDER)
    return [Settings(*point) for point in axes]


def candidates(corpus: Sequence[Series], news: Mapping[int, Sequence[Floats]]) -> list[Files]:
    """Steps of every file for every neighbour; `news` by block length, then by file."""
    return [
        [
            steps(said(of_file, settings), series.windows)
            for of_file, series in zip(news[settings.block], corpus, strict=True)
        ]
        for settings in neighbours()
    ]


def crossed(choices: Sequence[Files], *, halves: int = HALVES, seed: int = 0) -> dict[str, float]:
    """Mean score, by profile, of the half that nothing was chosen by.

    The choice with the highest mean of the standard and the low-FP score of its half is taken for all profiles; its
    threshold is each profile's best on that half.
    """
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(halves):
        order = rng.permutation(len(choices[0]))
        middle = len(order) // 2
        for chosen_by, scored in ((order[:middle], order[middle:]), (order[middle:], order[:middle])):
            scores.append(_transfer(choices, chosen_by.tolist(), scored.tolist()))
    return dict(zip([profile.name for profile in PROFILES], np.mean(scores, axis=0).tolist(), strict=True))


def _transfer(choices: Sequence[Files], chosen_by: Sequence[int], scored: Sequence[int]) -> list[float]:
    known = [merge([files[at] for at in chosen_by]) for files in choices]
    at = max(
        range(len(choices)), key=lambda number: sum(best(known[number], profile).score for profile in PROFILES[:2])
    )
    unknown = merge([choices[at][number] for number in scored])
    return [_carried(known[at], unknown, profile) for profile in PROFILES]


def _carried(known: Steps, unknown: Steps, profile: Profile) -> float:
    return score_at(unknown, profile, best(known, profile).threshold)
