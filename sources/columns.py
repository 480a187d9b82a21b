"""Raw columns to one frame at once: vector masks instead of checks.

It takes nothing that the event model does not take, and gives the same rows; where it is not sure it raises Doubt, and
which event is bad, and why, is for the model to say. A property test holds both to the same verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from schemas.event import NANO
from schemas.fingerprint import Fingerprinter
from schemas.frame import FRAME_SCHEMA
from sources import scrub
from sources.limits import LIMITS
from sources.numbers import Vector, fractions, optional_wholes, times, wholes
from sources.pricing import PriceBook, Usage
from sources.raw_columns import FRACTIONS, TEXTS, WHOLES
from sources.texts import TextColumns

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
_NETWORKS_LIMIT: Final = 200_000
_COUNTS: Final = tuple(name for name in WHOLES if name != "asn")


@dataclass(frozen=True, slots=True)
class Origin:
    """Coordinates of each row's raw record."""

    partition: Vector
    offset: Vector
    index: Vector


class ColumnBuilder:
    """Remembers what it has cleaned; however batches are cut, the same events give the same rows."""

    def __init__(self, *, fingerprinter: Fingerprinter, prices: PriceBook) -> None:
        self._prices = prices
        self._texts = TextColumns(fingerprinter)
        self._networks: dict[str, str] = {}

    def build(self, found: pa.RecordBatch, origin: Origin, latest_ms: int | None) -> pa.RecordBatch:
        """The frame of these events in their order; Doubt when any of them may be bad."""
        raw = _every(found)
        event_ids = self._texts.event_ids(raw["event_id"])
        columns: dict[str, Any] = {
            "raw_partition": origin.partition,
            "raw_offset": origin.offset,
            "raw_index": origin.index,
            "event_id": event_ids,
            "event_hash": _hashes(event_ids),
            "ts_ms": times(raw["ts"], latest_ms),
            "asn": optional_wholes(raw["asn"], LIMITS["asn"]),
            "latency_ms": fractions(raw["latency_ms"], LIMITS["latency_ms"]),
        }
        columns |= {name: wholes(raw[name], LIMITS[name]) for name in _COUNTS}
        columns |= self._texts.columns(raw)
        columns["network"] = self._network(columns["ip"])
        columns["cost_nano_usd"], columns["priced"] = self._costs(raw["cost_usd"], columns)
        arrays = [_array(columns[field.name], field.type) for field in FRAME_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=FRAME_SCHEMA)

    def _network(self, ip: pa.DictionaryArray) -> pa.DictionaryArray:
        """Worked out once per distinct address; several addresses share an entry of the new dictionary."""
        if len(self._networks) > _NETWORKS_LIMIT:
            self._networks.clear()
        known = self._networks
        addresses = ip.dictionary.to_pylist()
        of_each = list(map(known.get, addresses))
        if None in of_each:
            known |= {address: scrub.network(address) for address in addresses if address not in known}
            of_each = [known[address] for address in addresses]
        networks = pa.array(of_each, pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(networks.indices.take(ip.indices), networks.dictionary)

    def _costs(self, given_usd: pa.Array, columns: dict[str, Any]) -> tuple[Vector, Vector]:
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


def _every(found: pa.RecordBatch) -> dict[str, pa.Array]:
    """All fields of the event; of those that nobody used, nulls."""
    count, there = found.num_rows, dict(zip(found.schema.names, found.columns, strict=True))
    kinds = [(TEXTS, _TEXT), (WHOLES, pa.int64()), (FRACTIONS, pa.float64())]
    absent = {name: pa.nulls(count, kind) for names, kind in kinds for name in names if name not in there}
    return absent | there


def _hashes(event_ids: pa.Array) -> Vector:
    names = event_ids.cast(pa.binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, names), np.uint64, len(names))


def _array(column: pa.Array | Vector, to: pa.DataType) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    # A fraction that is absent is NaN in the vector: JSON has no NaN, so none is lost.
    return pa.array(column.astype(to.to_pandas_dtype(), copy=False), to, from_pandas=True)
