"""Text columns: checked, and cleaned of secrets; each distinct value once, for producers repeat themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from schemas.fingerprint import Fingerprinter
from sources import scrub
from sources.doubt import Doubt
from sources.limits import LIMITS, Limits

_MEMO_LIMIT: Final = 200_000


class TextMemo:
    """One sort of text; values that stay as they are cost one look each."""

    def __init__(self, clean: Callable[[str], str | None], limits: Limits, *, screened: bool = True) -> None:
        """`screened`: only values in which a secret is thinkable are given to `clean`, which is slow."""
        self._clean = clean
        self._limits = limits
        self._screened = screened
        self._kept: set[str] = set()
        self._changed: dict[str, str | None] = {}

    def column(self, found: pa.DictionaryArray) -> pa.DictionaryArray:
        """The column to carry on, each distinct value once; Doubt when any is not fit, or one misses that must not."""
        if found.null_count and not self._limits.optional:
            raise Doubt
        values = found.dictionary.to_pylist()
        changed = self.changes(values)
        if not changed:
            return found
        clean = pa.array([changed.get(value, value) for value in values], pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(clean.indices.take(found.indices), clean.dictionary)

    def changes(self, values: Iterable[str]) -> dict[str, str | None]:
        """What is to be carried on instead of each value that may not be; Doubt when any is not fit."""
        if len(self._kept) + len(self._changed) > _MEMO_LIMIT:
            self._kept, self._changed = set(), {}
        kept, changed = self._kept, self._changed  # another thread may start afresh meanwhile
        strange = [value for value in values if value not in kept]
        fresh = list({value for value in strange if value not in changed})
        if fresh:
            changed |= self._first_seen(fresh)
            kept.update(value for value in fresh if value not in changed)  # after: a secret is never seen as kept
        return {value: changed[value] for value in strange if value in changed}

    def _first_seen(self, fresh: list[str]) -> dict[str, str | None]:
        check_texts(fresh, self._limits)
        try:
            cleaned = {value: self._clean(value) for value in (scrub.suspects(fresh) if self._screened else fresh)}
        except ValueError:
            raise Doubt from None
        return {value: clean for value, clean in cleaned.items() if clean != value}


class TextColumns:
    """Every text field of the native event, fit to be stored: secrets are fingerprinted or redacted."""

    def __init__(self, fingerprinter: Fingerprinter) -> None:
        self._fingerprinter = fingerprinter
        named = partial(scrub.named, fingerprinter=fingerprinter)
        by_limits = {LIMITS[name]: TextMemo(scrub.text, LIMITS[name]) for name in scrub.FREE_TEXTS}
        self._memos = {name: by_limits[LIMITS[name]] for name in scrub.FREE_TEXTS} | {
            "key_id": TextMemo(named, LIMITS["key_id"]._replace(optional=False)),
            "ip": TextMemo(scrub.address, LIMITS["ip"], screened=False),
        }

    def columns(self, raw: Mapping[str, pa.Array]) -> dict[str, pa.DictionaryArray]:
        """Field → its column, but for `event_id`; Doubt when the model has to look."""
        given = dict(raw) | {"key_id": self._keys(raw["key_id"], raw["key"])}
        return {name: memo.column(given[name]) for name, memo in self._memos.items()}

    def event_ids(self, texts: pa.Array) -> pa.Array:
        """Nearly all are new: there is nothing to remember."""
        lengths = pc.min_max(pc.utf8_length(texts))
        low, high = lengths["min"].as_py(), lengths["max"].as_py()
        limits = LIMITS["event_id"]
        if texts.null_count or low < limits.low or high > limits.high or b"\x00" in texts.buffers()[2].to_pybytes():
            raise Doubt
        rows = scrub.suspect_rows(texts)
        if len(rows) == 0:
            return texts
        names = texts.to_pylist()
        for row in rows.tolist():
            names[row] = scrub.named(names[row], self._fingerprinter)
        return pa.array(names, pa.string())

    def clean(self, docs: list[dict[str, Any]]) -> None:
        """The same for valid events one by one, in place: their secrets give way to names."""
        for doc in docs:
            key = doc.pop("key", None)
            if key is not None:
                doc["key_id"] = self._fingerprinter.of(key)
        names = {doc["event_id"] for doc in docs}
        self._replace(docs, "event_id", {n: scrub.named(n, self._fingerprinter) for n in scrub.suspects(list(names))})
        for name, memo in self._memos.items():
            given = {value for doc in docs if (value := doc.get(name)) is not None}
            self._replace(docs, name, memo.changes(given))

    @staticmethod
    def _replace(docs: list[dict[str, Any]], name: str, changed: Mapping[str, str | None]) -> None:
        if changed:
            for doc in docs:
                doc[name] = changed.get(doc.get(name, ""), doc.get(name))

    def _keys(self, names: pa.DictionaryArray, secrets: pa.DictionaryArray) -> pa.DictionaryArray:
        """Secrets become fingerprints before anything else sees them."""
        if secrets.null_count == len(secrets):
            return names
        if not pc.all(pc.xor(names.is_null(), secrets.is_null())).as_py():
            raise Doubt
        distinct = secrets.dictionary.to_pylist()
        check_texts(distinct, LIMITS["key"], nul_is_fit=True)
        prints = pa.array(map(self._fingerprinter.of, distinct), pa.string())
        return pc.coalesce(names.dictionary_decode(), prints.take(secrets.indices)).dictionary_encode()


def check_texts(values: list[str], limits: Limits, *, nul_is_fit: bool = False) -> None:
    """Doubt unless all are of a fit length and, where a NUL is not fit, without one."""
    lengths = set(map(len, values))
    if min(lengths) < limits.low or max(lengths) > limits.high or (not nul_is_fit and "\x00" in "".join(values)):
        raise Doubt
