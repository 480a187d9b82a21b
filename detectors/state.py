"""Struct-of-arrays over key slots: each detector declares its fields once, and table, codec and tests read them."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
State = dict[str, Array]
Fields = Mapping[str, tuple[str, tuple[int, ...]]]

_FIRST_CAPACITY: Final = 64
_OWN_PAGES: Final = 1 << 18  # bytes
_HUGE: Final = 1 << 22
_MANY: Final = 512  # rows: for fewer, making items of them takes longer than it saves


def highest(values: Array) -> Array:
    """The highest of each row of a few columns; by row NumPy takes ten times as long.

    >>> highest(np.array([[1.0, 3.0], [2.0, 0.0]])).tolist()
    [3.0, 2.0]
    """
    most: Array = np.maximum.reduce(np.ascontiguousarray(values.T))
    return most


class KeyTable:
    """One row per key in every column; a new row is all zeros, which every field takes as "never used".

    >>> table = KeyTable({"peak": ("f4", ()), "shares": ("f4", (2,))})
    >>> table.grow_to(3)
    >>> table.put(np.array([1]), {"peak": np.array([2.5])})
    >>> table.take(["peak"], np.array([0, 1]))["peak"].tolist()
    [0.0, 2.5]
    >>> table.row_bytes
    12
    """

    def __init__(self, fields: Fields) -> None:
        self.fields: Final = dict(fields)
        self.size = 0
        self._capacity = 0
        self.columns: State = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in self.fields.items()}

    @property
    def row_bytes(self) -> int:
        """Bytes of state per key."""
        return sum(np.dtype(dtype).itemsize * int(np.prod(shape)) for dtype, shape in self.fields.values())

    def grow_to(self, size: int) -> None:
        """Make room for `size` rows; capacity grows by half, so that a million keys do not need twice their space."""
        self.size = max(self.size, size)
        if size > self._capacity:
            self.reserve(max(size, _FIRST_CAPACITY, self._capacity + self._capacity // 2))

    def reserve(self, capacity: int) -> None:
        """Room for rows to come: what is not used yet takes no memory, and what is there is copied once."""
        if capacity <= self._capacity:
            return
        self._capacity = capacity
        for name, column in self.columns.items():
            wider = _zeros((self._capacity, *column.shape[1:]), column.dtype)
            wider[: len(column)] = column
            self.columns[name] = wider

    def part(self, slots: Array) -> KeyTable:
        """A table of copies of these rows, in this order: what is done to it changes nothing here."""
        part = KeyTable(self.fields)
        part.size = part._capacity = len(slots)
        part.columns = self.take(self.fields, slots)
        return part

    def take(self, names: Iterable[str], slots: Array) -> State:
        """Copies of the rows: a detector may look at them, never change the table."""
        return {name: self.columns[name].take(slots, axis=0) for name in names}  # by index takes five times as long

    def put(self, slots: Array, state: Mapping[str, Array]) -> None:
        for name, values in state.items():
            column = self.columns[name]
            if column.ndim == 1 or len(slots) < _MANY:
                column[slots] = values
            else:
                _rows(column)[slots] = _rows(np.ascontiguousarray(values, column.dtype))


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Large ones are pages of their own: the heap would touch what is not used yet, and keep what was given back."""
    size = math.prod(shape) * dtype.itemsize
    if size < _OWN_PAGES:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # as NumPy does for its own: a kernel may be without
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype).reshape(shape)


def _rows(column: Array) -> Array:
    """Each key's numbers as one item: thousands are written in a third to three quarters of the time."""
    width = math.prod(column.shape[1:])
    row = np.dtype((np.void, width * column.dtype.itemsize))
    items: Array = column.reshape(len(column), width).view(row)[:, 0]
    return items
