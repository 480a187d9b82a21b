"""Frames for the storage tests: only what the archive looks at has to be said, the rest has a plain value."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import xxhash

from schemas.frame import FRAME_SCHEMA
from storage.archiving import resume, write
from storage.store import Store

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
T0 = 1_795_428_000_000  # 2026-11-23T10:00:00Z


@dataclass(frozen=True)
class Use:
    """One row of a frame."""

    event_id: str
    raw_offset: int
    ts_ms: int = T0
    key_id: str = "fp1:a"
    raw_partition: int = 0
    raw_index: int = 0
    cost_nano_usd: int = 1_000_000
    requests: int = 1
    status: int = 200
    network: str | None = "198.51.100.0/24"
    team: str | None = "search"
    app: str | None = None
    user_id: str | None = None
    model: str = "gpt-5"

    @property
    def coord(self) -> int:
        return self.raw_offset << 20 | self.raw_index


def frame(uses: list[Use]) -> pa.RecordBatch:
    """The rows as the ingest would send them."""
    rows = [
        {
            "raw_partition": use.raw_partition,
            "raw_offset": use.raw_offset,
            "raw_index": use.raw_index,
            "event_hash": xxhash.xxh64_intdigest(use.event_id.encode()),
            "event_id": use.event_id,
            "ts_ms": use.ts_ms,
            "key_id": use.key_id,
            "provider": "openai",
            "model": use.model,
            "endpoint": None,
            "requests": use.requests,
            "input_tokens": 100,
            "cached_input_tokens": 10,
            "cache_write_tokens": 0,
            "output_tokens": 20,
            "reasoning_tokens": 5,
            "cost_nano_usd": use.cost_nano_usd,
            "priced": True,
            "status": use.status,
            "error": None if use.status < 400 else "rate_limited",
            "latency_ms": None,
            "ip": None,
            "network": use.network,
            "country": "DE",
            "asn": None,
            "user_agent": None,
            "user_id": use.user_id,
            "team": use.team,
            "app": use.app,
            "env": "production",
        }
        for use in uses
    ]
    return pa.RecordBatch.from_pylist(rows, schema=FRAME_SCHEMA)


def archive_uses(store: Store, *frames: list[Use], topic: str = "usage.frames", now_ms: int = T0) -> None:
    """Each list as one frame of one new log, archived in one insert."""
    archive = resume(store, topic, 0, offset=0, metadata="", now_ms=now_ms)
    for offset, uses in enumerate(frames):
        archive.add(offset, frame(uses), now_s=0)
    archive.intent()
    write(store, archive)
    archive.done()
