"""Text columns: checked, and cleaned of secrets; each distinct value once, for producers repeat themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any, Final

from schemas.fingerprint import Fingerprinter
from sources import scrub
from sources.cells import Cells, Doubt
from sources.limits import LIMITS, Limits

_MEMO_LIMIT: Final = 200_000


class TextMemo:
    """One sort of text; values that stay as they are cost one set difference per batch."""

    def __init__(self, clean: Callable[[str], str | None], limits: Limits, *, screened: bool = True) -> None:
        """`screened`: only values in which a secret is thinkable are given to `clean`, which is slow."""
        self._clean = clean
        self._limits = limits
        self._screened = screened
        self._kept: set[str | None] = set()
        self._changed: dict[str | None, str | None] = {}
        self._forget()

    def clean(self, values: list[Any]) -> list[Any]:
        """The column to carry on; Doubt when any value is not fit."""
        if len(self._kept) + len(self._changed) > _MEMO_LIMIT:
            self._forget()
        kept, changed = self._kept, self._changed  # another thread may start afresh meanwhile
        try:
            distinct = set(values)
        except TypeError:  # a list or an object where a text belongs
            raise Doubt from None
        fresh = list(distinct - kept - changed.keys())
        if fresh:
            changed |= self._changes(fresh)
            kept.update(value for value in fresh if value not in changed)  # after: a secret is never seen as kept
        if changed.keys().isdisjoint(distinct):
            return values
        return [changed.get(value, value) for value in values]

    def _changes(self, fresh: list[Any]) -> dict[str | None, str | None]:
        check_texts(fresh, self._limits)
        try:
            cleaned = {value: self._clean(value) for value in (scrub.suspects(fresh) if self._screened else fresh)}
        except ValueError:
            raise Doubt from None
        return {value: clean for value, clean in cleaned.items() if clean != value}

    def _forget(self) -> None:
        self._kept = {None} if self._limits.optional else set()
        self._changed = {}


class TextColumns:
    """Every text field of the native event, fit to be stored: secrets are fingerprinted or redacted."""

    def __init__(self, fingerprinter: Fingerprinter) -> None:
        self._fingerprinter = fingerprinter
        named = partial(scrub.named, fingerprinter=fingerprinter)
        self._key_ids = TextMemo(named, LIMITS["key_id"]._replace(optional=False))
        self._addresses = TextMemo(scrub.address, LIMITS["ip"], screened=False)
        by_limits = {LIMITS[name]: TextMemo(scrub.text, LIMITS[name]) for name in scrub.FREE_TEXTS}
        self._free = {name: by_limits[LIMITS[name]] for name in scrub.FREE_TEXTS}

    def clean(self, cells: Cells) -> dict[str, list[Any]]:
        """Field → its column; Doubt when the model has to look."""
        columns = {"event_id": self._event_ids(cells["event_id"])}
        columns["key_id"] = self._keys(cells["key_id"], cells["key"])
        columns["ip"] = self._addresses.clean(cells["ip"])
        columns |= {name: memo.clean(cells[name]) for name, memo in self._free.items()}
        return columns

    def _event_ids(self, values: list[Any]) -> list[str]:
        """Nearly all are new: there is nothing to remember."""
        check_texts(values, LIMITS["event_id"])
        suspects = set(scrub.suspects(values))
        if not suspects:
            return values
        return [scrub.named(value, self._fingerprinter) if value in suspects else value for value in values]

    def _keys(self, names: list[Any], secrets: list[Any]) -> list[Any]:
        """Secrets become fingerprints before anything else sees them."""
        if set(map(type, secrets)) == {NoneType}:
            return self._key_ids.clean(names)
        pairs = list(zip(names, secrets, strict=True))
        if any((name is None) == (secret is None) for name, secret in pairs):
            raise Doubt
        check_texts([secret for secret in secrets if secret is not None], LIMITS["key"], nul_is_fit=True)
        of = self._fingerprinter.of
        return self._key_ids.clean([name if secret is None else of(secret) for name, secret in pairs])


def check_texts(values: list[Any], limits: Limits, *, nul_is_fit: bool = False) -> None:
    """Doubt unless all are texts of a fit length and, where a NUL is not fit, without one."""
    if set(map(type, values)) != {str}:
        raise Doubt
    lengths = set(map(len, values))
    if min(lengths) < limits.low or max(lengths) > limits.high or (not nul_is_fit and "\x00" in "".join(values)):
        raise Doubt
