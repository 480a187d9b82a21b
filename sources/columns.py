"""Many events to one frame at once: columns instead of objects, vector masks instead of checks.

It takes exactly what the event model takes and gives the same rows, or raises Doubt; which event is bad, and why,
is for the model to say. A property test holds both to the same verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from schemas.event import NANO
from schemas.fingerprint import Fingerprinter
from schemas.frame import FRAME_SCHEMA
from schemas.redact import looks_secret
from sources import scrub
from sources.limits import LIMITS
from sources.memo import Doubt, TextMemo
from sources.numbers import Vector, fractions, optional_wholes, times, wholes
from sources.pricing import PriceBook, Usage

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_NETWORKS_LIMIT: Final = 200_000
_COUNTS: Final = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "status",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Coordinates of each row's raw record."""

    partition: Vector
    offset: Vector
    index: Vector


class ColumnBuilder:
    """Remembers what it has cleaned; however batches are cut, the same events give the same rows."""

    def __init__(self, *, fingerprinter: Fingerprinter, prices: PriceBook) -> None:
        self._fingerprinter = fingerprinter
        self._prices = prices
        named = partial(scrub.named, fingerprinter=fingerprinter)
        self._key_ids = TextMemo(named, LIMITS["key_id"]._replace(optional=False))
        self._addresses = TextMemo(scrub.address, LIMITS["ip"])
        by_limits = {LIMITS[name]: TextMemo(scrub.text, LIMITS[name]) for name in scrub.FREE_TEXTS}
        self._texts = {name: by_limits[LIMITS[name]] for name in scrub.FREE_TEXTS}
        self._networks: dict[str, str] = {}

    def build(self, docs: list[dict[str, Any]], origin: Origin, latest_ms: int | None) -> pa.RecordBatch:
        """The frame of these native events in their order; Doubt when any of them may be bad."""
        if not docs:
            return pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)
        event_ids = self._event_ids(_cells(docs, "event_id"))
        columns: dict[str, Any] = {
            "raw_partition": origin.partition,
            "raw_offset": origin.offset,
            "raw_index": origin.index,
            "event_id": event_ids,
            "event_hash": np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in event_ids], np.uint64),
            "ts_ms": times(_cells(docs, "ts"), latest_ms),
            "key_id": pa.array(self._keys(docs), _TEXT),
            "asn": optional_wholes(_cells(docs, "asn"), LIMITS["asn"]),
            "latency_ms": fractions(_cells(docs, "latency_ms"), LIMITS["latency_ms"]),
        }
        columns |= {name: wholes(_cells(docs, name), LIMITS[name]) for name in _COUNTS}
        columns |= {name: pa.array(memo.clean(_cells(docs, name)), _TEXT) for name, memo in self._texts.items()}
        columns["ip"] = pa.array(self._addresses.clean(_cells(docs, "ip")), _TEXT)
        columns["network"] = self._network(columns["ip"])
        columns["cost_nano_usd"], columns["priced"] = self._costs(_cells(docs, "cost_usd"), columns)
        arrays = [_array(columns[field.name], field.type) for field in FRAME_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=FRAME_SCHEMA)

    def _event_ids(self, values: list[Any]) -> list[str]:
        """Nearly all are new, so they are looked at as one text first."""
        low, high, *_ = LIMITS["event_id"]
        if set(map(type, values)) != {str}:
            raise Doubt
        lengths = set(map(len, values))
        joined = "\n".join(values)
        if min(lengths) < low or max(lengths) > high or "\x00" in joined:
            raise Doubt
        return [scrub.named(value, self._fingerprinter) for value in values] if looks_secret(joined) else values

    def _keys(self, docs: list[dict[str, Any]]) -> list[str | None]:
        """Secrets become fingerprints before anything else sees them."""
        names, secrets = _cells(docs, "key_id"), _cells(docs, "key")
        if set(map(type, secrets)) == {type(None)}:
            return self._key_ids.clean(names)
        low, high, *_ = LIMITS["key"]
        for name, secret in zip(names, secrets, strict=True):
            if (name is None) == (secret is None):
                raise Doubt
            if secret is not None and (type(secret) is not str or not low <= len(secret) <= high):
                raise Doubt
        of = self._fingerprinter.of
        pairs = zip(names, secrets, strict=True)
        return self._key_ids.clean([name if secret is None else of(secret) for name, secret in pairs])

    def _network(self, ip: pa.DictionaryArray) -> pa.DictionaryArray:
        """Worked out once per distinct address; several addresses share an entry of the new dictionary."""
        if len(self._networks) > _NETWORKS_LIMIT:
            self._networks.clear()
        known = self._networks
        addresses = ip.dictionary.to_pylist()
        for address in addresses:
            if address not in known:
                known[address] = scrub.network(address)
        networks = pa.array([known[address] for address in addresses], _TEXT)
        return pa.DictionaryArray.from_arrays(networks.indices.take(ip.indices), networks.dictionary)

    def _costs(self, given_usd: list[Any], columns: dict[str, Any]) -> tuple[Vector, Vector]:
        """What the producer says it cost, else what the table says."""
        usd = fractions(given_usd, LIMITS["cost_usd"])
        absent = np.isnan(usd)
        if not absent.any():
            return np.rint(usd * NANO).astype(np.int64), ~absent
        usage = Usage(
            columns["input_tokens"],
            columns["cached_input_tokens"],
            columns["cache_write_tokens"],
            columns["output_tokens"],
            columns["ts_ms"],
        )
        table_nano, known = self._prices.column_nano_usd(columns["provider"], columns["model"], usage)
        given_nano = np.rint(np.where(absent, 0.0, usd) * NANO).astype(np.int64)
        return np.where(absent, table_nano, given_nano), ~absent | known


def _cells(docs: list[dict[str, Any]], name: str) -> list[Any]:
    return [doc.get(name) for doc in docs]


def _array(column: Any, to: pa.DataType) -> pa.Array:  # noqa: ANN401 - a list, a vector or a finished array
    if isinstance(column, pa.Array):
        return column
    if isinstance(column, np.ndarray):
        # A fraction that is absent is NaN in the vector: JSON has no NaN, so none is lost.
        return pa.array(column.astype(to.to_pandas_dtype(), copy=False), to, from_pandas=True)
    return pa.array(column, to)
