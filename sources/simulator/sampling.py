"""Vectorised draws for many speakers at once, each with its own list of choices or quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import numpy as np

from sources.simulator.arrivals import Floats, Ints
from sources.simulator.fitted import TOKEN_PROBABILITIES

T = TypeVar("T")
_PROBABILITIES: Final = np.array(TOKEN_PROBABILITIES)
_WHOLE: Final = 1 - 1e-9


class Choices(Generic[T]):
    """Weighted choices of each speaker, laid end to end in `values`; a draw is a position there."""

    def __init__(self, lists: Sequence[Sequence[tuple[T, float]]]) -> None:
        self.values = [value for pairs in lists for value, _ in pairs]
        self._size = np.array([len(pairs) for pairs in lists])
        self._first = np.cumsum(self._size) - self._size
        self._until = np.full((len(lists), max(1, int(self._size.max()))), np.inf)
        for row, pairs in enumerate(lists):
            until = np.cumsum([share for _, share in pairs])
            self._until[row, : len(pairs)] = np.where(until >= _WHOLE, np.inf, until)

    def draw(self, who: Ints, rng: np.random.Generator) -> Ints:
        """Shares that add up to less than 1 leave the rest to -1: none of them."""
        u = rng.random(len(who))
        index = np.zeros(len(who), np.int64)
        for until in self._until.T:
            index += u >= until[who]
        position: Ints = np.where(index >= self._size[who], -1, self._first[who] + index)
        return position


class Lists(Generic[T]):
    """Unweighted values of each speaker, laid end to end in `values`; a draw is a position there."""

    def __init__(self, lists: Sequence[Sequence[T]]) -> None:
        self.values = [value for values in lists for value in values]
        self._size = np.array([len(values) for values in lists])
        self._first = np.cumsum(self._size) - self._size

    def draw(self, who: Ints, rng: np.random.Generator) -> Ints:
        """The square makes earlier entries come more often: the first quarter gets half."""
        position: Ints = self._first[who] + (self._size[who] * rng.random(len(who)) ** 2).astype(np.int64)
        return position


def draw_tokens(log_table: Floats, who: Ints, rng: np.random.Generator) -> Ints:
    """Lengths by the quantiles of each speaker's row (logarithms, at TOKEN_PROBABILITIES)."""
    u = np.clip(rng.random(len(who)), _PROBABILITIES[0], _PROBABILITIES[-1])
    at = np.searchsorted(_PROBABILITIES, u, side="right").clip(1, len(_PROBABILITIES) - 1)
    part = (u - _PROBABILITIES[at - 1]) / (_PROBABILITIES[at] - _PROBABILITIES[at - 1])
    tokens: Ints = np.rint(np.exp(log_table[who, at - 1] * (1 - part) + log_table[who, at] * part)).astype(np.int64)
    return tokens


def scattered(numbers: Ints, salt: int) -> list[int]:
    """SplitMix64: different numbers of one salt give different results that look random."""
    x = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: list[int] = (x ^ (x >> np.uint64(31))).tolist()
    return mixed
