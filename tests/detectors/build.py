"""Frames by name, so that a test says only what matters to it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from schemas.frame import FRAME_SCHEMA

NOW_S = 1_795_428_000  # a Monday, 10:00 UTC, the start of a 10-minute block


def frame(events: list[dict[str, Any]]) -> pa.RecordBatch:
    """A frame of events; `ts_s`, `key_id` and what differs from a plain request. `at` is the raw offset."""
    columns: dict[str, list[Any]] = {name: [] for name in FRAME_SCHEMA.names}
    for number, event in enumerate(events):
        row = {
            "raw_partition": 0, "raw_offset": event.get("at", number), "raw_index": 0,
            "event_hash": (event.get("at", number) + 1) * 0x9E3779B97F4A7C15 % 2**64, "event_id": "e",
            "provider": "openai", "model": "gpt-4.1-mini", "requests": 1, "input_tokens": 800, "output_tokens": 200,
            "cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0,
            "cost_nano_usd": round(event.get("cost_usd", 0.002) * 1e9), "priced": True, "status": 200,
            "network": "198.51.100.0/24", "country": "DE", "user_agent": "sdk/1", "env": "prod", "team": "search",
        } | {"ts_ms": round(event["ts_s"] * 1000)} | event  # fmt: skip
        for name in FRAME_SCHEMA.names:
            columns[name].append(row.get(name))
    arrays = [pa.array(columns[f.name], f.type) for f in FRAME_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=FRAME_SCHEMA)
