"""Usage rows as one integer matrix, and the waves in which they are folded.

Integers only: a sum of integers is the same in every order, so how rows were cut into frames cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.state import Array

(
    SLOT, SECOND, TS, REQUESTS, TOKENS, COST, INPUT, CACHED, REFUSED, FAILED,
    MODEL, ENDPOINT, NETWORK, COUNTRY, AGENT, FORBIDDEN,
) = range(16)  # fmt: skip
"""TOKENS are input and output; INPUT and CACHED are parts of them. REFUSED are requests answered 4xx, FAILED 5xx.
FORBIDDEN is the sum of `breaches.BITS`, what policies do not allow of the row."""
WIDTH: Final = 16
BLOCK_S: Final = 600
_SUMMED: Final = (REQUESTS, TOKENS, COST, INPUT, CACHED, REFUSED, FAILED)
_NAMED: Final = (SLOT, SECOND, TS, MODEL, ENDPOINT, NETWORK, COUNTRY, AGENT, FORBIDDEN)


def empty() -> Array:
    return np.zeros((WIDTH, 0), np.int64)


def compact(rows: Array) -> Array:
    """One row for each distinct combination and length of a request, counts summed, in one order: the canonical form of
    what is pending.

    >>> same = np.ones((WIDTH, 3), np.int64)
    >>> compact(same)[REQUESTS].tolist()
    [3]
    """
    if rows.shape[1] == 0:
        return rows
    named = np.concatenate((rows[list(_NAMED)], input_length(rows)[None]))
    order = np.lexsort(named[::-1])
    rows, named = rows[:, order], named[:, order]
    first = np.concatenate(([True], (named[:, 1:] != named[:, :-1]).any(axis=0)))
    start = np.flatnonzero(first)
    packed = rows[:, start]
    for column in _SUMMED:
        packed[column] = np.add.reduceat(rows[column], start)
    return packed


def input_length(rows: Array) -> Array:
    """Input tokens of one request of each row. Rows of one length keep it when they are summed."""
    length: Array = rows[INPUT] // np.maximum(rows[REQUESTS], 1)
    return length


def by_block(rows: Array) -> Iterator[tuple[int, Array]]:
    """Rows of each 10-minute block of scoring time, oldest first."""
    if rows.shape[1] == 0:
        return
    blocks = rows[SECOND] // BLOCK_S
    low, high = int(blocks.min()), int(blocks.max())
    if low == high:
        yield low, rows
        return
    for block in np.unique(blocks).tolist():
        yield block, rows[:, blocks == block]


def keys(rows: Array) -> Array:
    """The slots of these rows, each once, in their order."""
    slots = np.sort(rows[SLOT])  # `np.unique` takes five times as long
    distinct: Array = slots[np.append(True, slots[1:] != slots[:-1])]
    return distinct


def waves(rows: Array) -> Iterator[Array]:
    """Wave w holds each key's w-th second: keys are independent, so that a wave is one vectorised step.

    >>> rows = np.zeros((WIDTH, 3), np.int64)
    >>> rows[SLOT], rows[SECOND] = [7, 7, 8], [10, 11, 11]
    >>> [wave[SECOND].tolist() for wave in waves(rows)]
    [[10, 11], [11]]
    """
    seconds = rows[SECOND]
    if int(seconds.min()) == int(seconds.max()):
        yield rows
        return
    packed = (rows[SLOT] << 32) | seconds
    groups, member = np.unique(packed, return_inverse=True)
    slots = groups >> 32
    first_of_slot = np.concatenate(([0], np.flatnonzero(np.diff(slots)) + 1))
    lengths = np.diff(np.concatenate((first_of_slot, [len(slots)])))
    rank = np.arange(len(groups)) - np.repeat(first_of_slot, lengths)
    wave_of_row = rank[member]
    order = np.argsort(wave_of_row, kind="stable")
    cuts = np.flatnonzero(np.diff(wave_of_row[order])) + 1
    for part in np.split(order, cuts):
        yield rows[:, part]
