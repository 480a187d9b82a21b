"""Many events to one frame at once: columns instead of objects, vector masks instead of checks.

It takes exactly what the event model takes and gives the same rows, or raises Doubt; which event is bad, and why,
is for the model to say. A property test holds both to the same verdicts.
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
from sources.cells import Cells
from sources.limits import LIMITS
from sources.numbers import Vector, fractions, optional_wholes, times, wholes
from sources.pricing import PriceBook, Usage
from sources.texts import TextColumns

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
        self._prices = prices
        self._texts = TextColumns(fingerprinter)
        self._networks: dict[str, str] = {}

    def build(self, docs: list[dict[str, Any]], origin: Origin, latest_ms: int | None) -> pa.RecordBatch:
        """The frame of these native events in their order; Doubt when any of them may be bad."""
        if not docs:
            return pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)
        cells = Cells(docs)
        texts = self._texts.clean(cells)
        event_ids = texts.pop("event_id")
        columns: dict[str, Any] = {
            "raw_partition": origin.partition,
            "raw_offset": origin.offset,
            "raw_index": origin.index,
            "event_id": pa.array(event_ids, pa.string()),
            "event_hash": np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in event_ids], np.uint64),
            "ts_ms": times(cells["ts"], latest_ms),
            "asn": optional_wholes(cells["asn"], LIMITS["asn"]),
            "latency_ms": fractions(cells["latency_ms"], LIMITS["latency_ms"]),
        }
        columns |= {name: wholes(cells[name], LIMITS[name]) for name in _COUNTS}
        columns |= {name: pa.array(values, _TEXT) for name, values in texts.items()}
        columns["network"] = self._network(columns["ip"])
        columns["cost_nano_usd"], columns["priced"] = self._costs(cells["cost_usd"], columns)
        arrays = [_array(columns[field.name], field.type) for field in FRAME_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=FRAME_SCHEMA)

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


def _array(column: pa.Array | Vector, to: pa.DataType) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    # A fraction that is absent is NaN in the vector: JSON has no NaN, so none is lost.
    return pa.array(column.astype(to.to_pandas_dtype(), copy=False), to, from_pandas=True)
