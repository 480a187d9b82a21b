"""The cells of one field over many events."""

from __future__ import annotations

from operator import itemgetter
from typing import Any


class Doubt(Exception):
    """The fast path cannot vouch for this batch: the model must look at each event."""


class Cells:
    """Columns of a non-empty list of events; a field that an event does not have reads None, as if it were null."""

    def __init__(self, docs: list[dict[str, Any]]) -> None:
        self._docs = docs
        self._same_shape = _by_shape(docs)
        self._absent = [None] * len(docs)

    def __getitem__(self, name: str) -> list[Any]:
        if self._same_shape is None:
            return [doc.get(name) for doc in self._docs]
        return self._same_shape.get(name, self._absent)


def _by_shape(docs: list[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """One producer writes the same fields each time, and then there is no need to ask each event for each field."""
    names = docs[0].keys()
    if set(map(len, docs)) != {len(names)}:
        return None
    try:
        return {name: list(map(itemgetter(name), docs)) for name in names}
    except KeyError:
        return None
