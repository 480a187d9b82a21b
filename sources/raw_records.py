"""Records of `usage.raw`: one, and many of them column by column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self, overload

import numpy as np

Whole = np.ndarray[tuple[int], np.dtype[np.int64]]


class RawRecord(NamedTuple):
    partition: int
    offset: int
    value: bytes
    format: str | None  # a name of sources.formats that the producer insists on; None: look at the shape


class RawRecords(Sequence[RawRecord]):
    """Each is made only when it is asked for, which takes longer than reading it. `formats` is by position.

    >>> RawRecords([7, 7], [1, 2], [b"a", b"b"], {1: "native"})[1:][0]
    RawRecord(partition=7, offset=2, value=b'b', format='native')
    """

    __slots__ = ("formats", "offset", "partition", "values")

    def __init__(
        self, partition: Sequence[int] | Whole, offset: Sequence[int] | Whole, values: list[bytes],
        formats: Mapping[int, str],
    ) -> None:  # fmt: skip
        self.partition, self.offset = np.asarray(partition, np.int64), np.asarray(offset, np.int64)
        self.values, self.formats = values, formats

    @classmethod
    def of(cls, records: Iterable[RawRecord]) -> Self:
        """The same records in columns."""
        partition, offset, values, formats = tuple(zip(*records, strict=True)) or ((), (), (), ())
        named = {at: name for at, name in enumerate(formats) if name is not None}
        return cls(partition, offset, list(values), named)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[RawRecord]:
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> RawRecord: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> RawRecord | Self:
        if isinstance(at, slice):
            places = range(len(self))[at] if self.formats else ()
            formats = {new: self.formats[old] for new, old in enumerate(places) if old in self.formats}
            return type(self)(self.partition[at], self.offset[at], self.values[at], formats)
        return RawRecord(int(self.partition[at]), int(self.offset[at]), self.values[at], self.formats.get(at))
