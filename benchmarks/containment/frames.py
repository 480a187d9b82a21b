"""Uses as the frames that the score core takes, built column by column."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.containment.columns import NULL, Ints, Ledger, Uses
from schemas.frame import FRAME_SCHEMA
from sources.scrub import network

_HASH: Final = np.uint64(0x9E3779B97F4A7C15)


class FrameMaker:
    """Turns uses into the frames that `ScoreCore.process` takes. Raw coordinates grow over the maker's whole life."""

    def __init__(self, ledger: Ledger, *, first_offset: int = 0) -> None:
        self._ledger = ledger
        self._networks: dict[int, int] = {}
        self.next_offset = first_offset
        """Raw offset of the next row; a core that goes on from a snapshot wants a maker that goes on too."""

    def frames(self, rows: Uses, *, chunk_s: int = 600) -> Iterator[pa.RecordBatch]:
        """Frames of `chunk_s` seconds of event time each, empty ones left out; `rows` must be in time order."""
        if not rows.rows:
            return
        cuts = np.flatnonzero(np.diff(rows.ts_ms // (chunk_s * 1000))) + 1
        bounds = [0, *cuts.tolist(), rows.rows]
        for low, high in pairwise(bounds):
            yield self.frame(rows.where(slice(low, high)))

    def frame(self, rows: Uses) -> pa.RecordBatch:
        """One frame of all rows."""
        n = rows.rows
        offsets = np.arange(self.next_offset, self.next_offset + n)
        self.next_offset += n
        zeros32 = np.zeros(n, np.int32)
        nulls = {"asn": pa.nulls(n, pa.uint32()), "latency_ms": pa.nulls(n, pa.float32())}
        columns: dict[str, Any] = {
            "raw_partition": zeros32, "raw_offset": offsets, "raw_index": zeros32,
            "event_hash": (offsets + 1).astype(np.uint64) * _HASH,
            "event_id": pa.StringArray.from_buffers(n, pa.py_buffer(bytes(4 * (n + 1))), pa.py_buffer(b"")),
            "ts_ms": rows.ts_ms, "requests": rows.requests, "input_tokens": rows.input_tokens,
            "cached_input_tokens": rows.cached_tokens, "cache_write_tokens": rows.written_tokens,
            "output_tokens": rows.output_tokens, "reasoning_tokens": np.zeros(n, np.int64),
            "cost_nano_usd": rows.cost_nano_usd, "priced": np.ones(n, bool), "status": rows.status.astype(np.int16),
        }  # fmt: skip
        columns |= nulls | self._key_columns(rows) | self._text_columns(rows)
        return pa.RecordBatch.from_arrays(
            [pa.array(columns[field.name], field.type) for field in FRAME_SCHEMA], schema=FRAME_SCHEMA
        )

    def _key_columns(self, rows: Uses) -> dict[str, pa.Array]:
        keys, at = np.unique(rows.key, return_inverse=True)
        owners = [self._ledger.owners[key] for key in keys.tolist()]
        indices = pa.array(at.astype(np.int32))
        columns = {"key_id": pa.DictionaryArray.from_arrays(indices, pa.array([o.key_id for o in owners], pa.string()))}
        for name in ("provider", "team", "app", "env"):
            texts = [getattr(owner, name) for owner in owners]
            distinct = {text: code for code, text in enumerate(dict.fromkeys(texts))}
            codes = np.array([distinct[text] for text in texts], np.int32)[at]
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(distinct), pa.string()))
        return columns

    def _text_columns(self, rows: Uses) -> dict[str, pa.Array]:
        named = {
            "model": rows.model, "endpoint": rows.endpoint, "error": rows.error, "ip": rows.ip,
            "network": self._network(rows.ip), "country": rows.country, "user_agent": rows.agent,
            "user_id": np.full(rows.rows, NULL),
        }  # fmt: skip
        return {name: self._text(codes) for name, codes in named.items()}

    def _text(self, codes: Ints) -> pa.DictionaryArray:
        """Only the texts that occur: a consumer looks at each text of a frame's dictionary."""
        distinct, at = np.unique(codes, return_inverse=True)
        shift = int(len(distinct) > 0 and distinct[0] < 0)
        texts = [self._ledger.texts.text(code) for code in distinct[shift:].tolist()]
        indices = pa.array((at - shift).astype(np.int32), mask=at < shift) if shift else pa.array(at.astype(np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))

    def _network(self, ip: Ints) -> Ints:
        distinct, at = np.unique(ip, return_inverse=True)
        of = np.array([self._network_of(code) for code in distinct.tolist()], np.int64)
        return of[at] if len(of) else ip

    def _network_of(self, ip: int) -> int:
        known = self._networks.get(ip)
        if known is None:
            text = self._ledger.texts.text(ip)
            known = self._networks[ip] = self._ledger.texts.code(None if text is None else network(text))
        return known
