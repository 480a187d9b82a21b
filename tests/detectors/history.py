"""Seeded histories of rows for exactness tests: several keys, late rows, retries, thefts, jumps over blocks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from detectors.core import ScoreCore
from detectors.examples import NOW_S
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding, KeyFacts
from tests.detectors.build import frame

SETTINGS = DetectorsConfig.model_validate(
    {
        "limits": {"usd_per_min": 3.0},
        "velocity": {"alarm_per_key_week": 30.0, "min_usd_per_min": 0.0, "warmup_windows": 2},
        "mix": {"alarm_per_key_week": 60.0, "min_requests": 3},
        "origin": {"alarm_per_key_week": 90.0, "min_requests": 3},
        "economics": {"alarm_per_key_week": 300.0, "min_requests": 3},
        "rhythm": {"alarm_per_key_week": 300.0, "min_requests": 3},
        "errors": {"alarm_per_key_week": 90.0, "min_requests": 3},
        "drift": {"alarm_per_key_week": 300.0},
        "repetition": {"alarm_per_key_week": 300.0, "min_requests": 3},
        "cohort": {"alarm_per_key_week": 300.0, "n_trees": 3, "height": 3, "window_samples": 10},
        "time": {"dedup_s": 60},
    }
)
"""So touchy that a short history says something in every family."""


def forbid(key_id: str, facts: KeyFacts, model: str) -> str | None:
    return "no-o3" if model == "o3" and facts.env == "dev" else None


def new_core() -> ScoreCore:
    return ScoreCore(SETTINGS, partition=0, shards=4, forbidden=forbid)


def history(seed: int, rows: int = 400) -> pa.RecordBatch:
    """Rows in partition order. Time mostly trickles, sometimes leaps; some rows are late, some are retries."""
    rng = random.Random(seed)
    events: list[dict[str, Any]] = []
    now = float(NOW_S)
    offsets = [0, 0]
    for _ in range(rows):
        now += rng.choice([0, 0, 0, 0.2, 0.7, 3]) if rng.random() < 0.93 else rng.choice([40, 200, 700, 4000])
        key = rng.randrange(9)
        stolen = key == 0 and len(events) > rows * 0.6
        partition = rng.randrange(2)
        offsets[partition] += 1
        event = {
            "raw_partition": partition, "at": offsets[partition],
            "ts_s": now - (rng.random() < 0.1) * rng.choice([1, 30, 200]),
            "key_id": f"k{key}", "env": "dev" if key % 3 == 0 else "prod", "provider": "openai",
            "model": rng.choice(["gpt-4.1-mini", "gpt-4.1", "o3"]) if stolen or rng.random() < 0.1 else "gpt-4.1-mini",
            "network": f"203.0.113.{rng.randrange(40)}/32" if stolen else f"198.51.100.{key}/32",
            "country": "RU" if stolen else rng.choice(["DE", "FR", None]),
            "cost_usd": rng.random() * (9 if stolen else 0.05), "input_tokens": rng.randrange(4000),
            "event_hash": rng.randrange(2**64),
            "status": 403 if stolen and offsets[partition] % 3 else 200,
            "endpoint": "/v1/models" if stolen and offsets[partition] % 5 == 0 else "/v1/chat/completions",
        }  # fmt: skip
        if events and rng.random() < 0.08:
            again = rng.choice(events[-30:])
            event |= {name: again[name] for name in ("event_hash", "key_id", "model", "cost_usd")}
        events.append(event)
    return frame(events)


def cut(rows: pa.RecordBatch, places: list[int]) -> list[pa.RecordBatch]:
    """The rows in frames that end at these places."""
    ends = sorted({min(place, rows.num_rows) for place in places} | {rows.num_rows})
    return [rows.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False) if end > start]


def run(core: ScoreCore, frames: list[pa.RecordBatch]) -> list[Finding]:
    told = [finding for one in frames for finding in core.process(one)]
    return told + core.advance(core.clock_s + 1)


def everything(core: ScoreCore) -> dict[str, bytes]:
    """All state a core would store."""
    return {"cohorts": core.export_cohorts()} | {str(shard): core.export_shard(shard) for shard in range(core.shards)}


class Store:
    """What a stage keeps of a core: cohorts before every shard, and from which frame to read again."""

    def __init__(self, new_core: Callable[[], ScoreCore] = new_core) -> None:
        self._new_core = new_core
        self.cohorts = b""
        self.shards: dict[int, bytes] = {}
        self.covered: dict[int, int] = {}
        self.clocks: list[int] = [0]

    def write(self, core: ScoreCore, shard: int, frames_done: int) -> None:
        self.cohorts = core.export_cohorts()
        self.shards[shard] = core.export_shard(shard)
        self.covered[shard] = frames_done

    def restored(self, *, cohorts_first: bool = True) -> tuple[ScoreCore, int]:
        """A core as after a crash, and the first frame it must read again."""
        core = self._new_core()
        start = min(self.covered.get(shard, 0) for shard in range(core.shards))
        if self.cohorts and cohorts_first:
            core.import_cohorts(self.cohorts)
        for shard, data in self.shards.items():
            core.import_shard(shard, data)
        if self.cohorts and not cohorts_first:
            core.import_cohorts(self.cohorts)
        core.clock_s = self.clocks[start]
        return core, start
