"""A few places per key for hashed values (models, networks, ...): find the known, admit the new, evict the weakest."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.state import Array

_LOWEST: Final = np.full(1 << 16, -1, np.int8)
"""The lowest bit of each number of sixteen bits: to look for it row by row takes three times as long."""
for _bit in reversed(range(16)):
    _LOWEST.reshape(-1, 2, 1 << _bit)[:, 1] = _bit


def find(table: Array, key: Array, value: Array) -> Array:
    """Column of each value in its key's row of the table, -1 where it is absent. 0 stands for an empty place.

    A row has at most sixteen places.

    >>> find(np.array([[5, 7]], "u4"), np.array([0, 0]), np.array([7, 9], "u4")).tolist()
    [1, -1]
    """
    width = table.shape[1]
    same = np.zeros((len(key), 8 if width <= 8 else 16), bool)
    np.equal(table.take(key, axis=0), value[:, None], out=same[:, :width])
    bits = np.packbits(same.reshape(-1), bitorder="little").view("u1" if width <= 8 else "<u2")
    found: Array = _LOWEST.take(bits).astype(np.int64)
    return found


def admit(table: Array, strength: Array, key: Array, value: Array) -> tuple[Array, Array]:
    """Write new values over the weakest places of their keys; both arrays are changed. Returns the cells written.

    Order within a key is by value, so that it does not depend on the order of rows. A key that shows more new
    values in one second than it has places keeps the first of them.

    >>> table, strength = np.array([[5, 7]], "u4"), np.array([[0.2, 0.8]])
    >>> admit(table, strength, np.array([0, 0]), np.array([9, 9], "u4"))
    (array([0]), array([0]))
    >>> table.tolist()
    [[9, 7]]
    """
    fresh = np.unique((key.astype("i8") << 32) | value.astype("i8"))
    keys, values = fresh >> 32, (fresh & 0xFFFFFFFF).astype(table.dtype)
    first = np.searchsorted(keys, keys)
    rank = np.arange(len(keys)) - first
    cells_key, cells_column = [], []
    for turn in range(min(int(rank.max(initial=-1)) + 1, table.shape[1])):
        now = rank == turn
        where = keys[now]
        column = strength[where].argmin(axis=1)
        table[where, column] = values[now]
        strength[where, column] = np.inf
        cells_key.append(where)
        cells_column.append(column)
    return np.concatenate([*cells_key, np.zeros(0, "i8")]), np.concatenate([*cells_column, np.zeros(0, "i8")])


def tally(shape: tuple[int, ...], at: tuple[Array, ...], amounts: Array) -> Array:
    """Exact integer sums by cell."""
    total = np.zeros(shape, np.int64)
    np.add.at(total, at, amounts)
    return total
