"""Text columns, cleaned: each distinct value is looked at once and remembered, because producers repeat themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sources.limits import Limits

_MEMO_LIMIT: Final = 200_000


class Doubt(Exception):
    """The fast path cannot vouch for this batch: the model must look at each event."""


class TextMemo:
    """Checks and cleans one sort of text; values that stay as they are cost one set difference per batch."""

    def __init__(self, clean: Callable[[str], str | None], limits: Limits) -> None:
        self._clean = clean
        self._limits = limits
        self._kept: set[str | None] = set()
        self._changed: dict[str, str | None] = {}
        self._forget()

    def clean(self, values: list[Any]) -> list[str | None]:
        """The column to carry on; Doubt when any value is not fit."""
        if len(self._kept) + len(self._changed) > _MEMO_LIMIT:
            self._forget()
        try:
            distinct = set(values)
        except TypeError:  # a list or an object where a text belongs
            raise Doubt from None
        for value in distinct - self._kept - self._changed.keys():
            self._learn(value)
        if self._changed.keys().isdisjoint(distinct):
            return values
        return [self._changed.get(value, value) for value in values]

    def _learn(self, value: object) -> None:
        low, high = self._limits.low, self._limits.high
        if type(value) is not str or not low <= len(value) <= high or "\x00" in value:
            raise Doubt
        try:
            cleaned = self._clean(value)
        except ValueError:
            raise Doubt from None
        if cleaned == value:
            self._kept.add(value)
        else:
            self._changed[value] = cleaned

    def _forget(self) -> None:
        self._kept = {None} if self._limits.optional else set()
        self._changed = {}
