"""A short past of a few keys with a theft in it, for the commands that play history."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from detectors.examples import NOW_S
from schemas.frame import FRAME_SCHEMA
from schemas.records import Mark, Verdict
from tests.detectors.build import frame
from tests.detectors.traffic import DAY_S, healthy, theft

STOLEN: Final = "k02"
THEFT_S: Final = NOW_S + DAY_S + 3600
THEFT_LASTS_S: Final = 90
FIRST_MS: Final = NOW_S * 1000
_NATIVE: Final = {
    "provider": "openai", "model": "gpt-4.1-mini", "env": "prod", "team": "search", "country": "DE",
    "user_agent": "sdk/1", "input_tokens": 800, "output_tokens": 200,
}  # fmt: skip


def events(*, keys: int = 4, stolen: bool = True) -> list[dict[str, Any]]:
    """A day and a bit, oldest first."""
    past = healthy(3, keys=keys, days=1, busy=0.5)
    if stolen:
        past += theft(2, THEFT_S, seconds=THEFT_LASTS_S)
    last = {"ts_s": THEFT_S + 600.0, "key_id": "k00", "cost_usd": 0.0}
    return sorted([*past, last], key=lambda event: float(event["ts_s"]))


def as_frame(past: list[dict[str, Any]]) -> pa.RecordBatch:
    batch = frame([{**event, "at": number} for number, event in enumerate(past)])
    [whole] = pa.Table.from_batches([batch], FRAME_SCHEMA).unify_dictionaries().combine_chunks().to_batches()
    return whole


def as_file(path: Path, past: list[dict[str, Any]]) -> Path:
    """Native events, one a line."""
    with path.open("wb") as stream:
        for number, event in enumerate(past):
            native = _NATIVE | {name: value for name, value in event.items() if name not in {"ts_s", "network"}}
            network = event.get("network", "198.51.100.0/24")
            native |= {"event_id": f"e{number}", "ts": round(event["ts_s"] * 1000), "ip": network.split("/")[0]}
            stream.write(orjson.dumps(native) + b"\n")
    return path


def mark(verdict: Verdict, *, key_id: str = STOLEN, from_s: int = THEFT_S, lasts_s: int = THEFT_LASTS_S) -> Mark:
    return Mark(
        mark_id=f"mrk_{verdict}_{key_id}", at_ms=(from_s + lasts_s) * 1000, by="ann", verdict=verdict, reason="r",
        key_id=key_id, from_ms=from_s * 1000, until_ms=(from_s + lasts_s) * 1000,
    )  # fmt: skip
