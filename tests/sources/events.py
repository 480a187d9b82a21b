"""Events and parsers that the tests of this package share."""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic import SecretStr

from schemas.fingerprint import Fingerprinter
from sources.batch import BatchParser, ParsedBatch, RawRecord
from sources.pricing import PriceBook

NOW_MS: Final = 1_795_428_000_000  # 2026-11-23T10:00:00Z
PROVIDER_KEY: Final = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
PRICES: Final = PriceBook()


def fingerprinter() -> Fingerprinter:
    return Fingerprinter(SecretStr("pepper"))


def parser(*, max_future_s: int | None = 30) -> BatchParser:
    return BatchParser(fingerprinter=fingerprinter(), prices=PRICES, max_future_s=max_future_s)


def event(**changed: Any) -> dict[str, Any]:
    """A full native event; a field given as None is left out."""
    whole = {
        "event_id": "req-1",
        "ts": "2026-11-23T09:59:58.250Z",
        "provider": "openai",
        "key_id": "fp1:0123456789abcdef0123456789abcdef",
        "model": "gpt-4o",
        "endpoint": "/v1/chat/completions",
        "input_tokens": 1000,
        "cached_input_tokens": 200,
        "output_tokens": 100,
        "status": 200,
        "latency_ms": 812.5,
        "ip": "203.0.113.7",
        "country": "DE",
        "user_agent": "openai-python/1.50.0",
        "team": "growth",
        "app": "batch-eval",
        "env": "production",
    }
    return {name: value for name, value in (whole | changed).items() if value is not None}


def parse(*values: bytes | dict[str, Any], fmt: str | None = None, max_future_s: int | None = 30) -> ParsedBatch:
    """Values as records 0, 1, … of partition 3."""
    encoded = [value if isinstance(value, bytes) else orjson.dumps(value) for value in values]
    records = [RawRecord(3, offset, value, fmt) for offset, value in enumerate(encoded)]
    return parser(max_future_s=max_future_s).parse(records, topic="usage.raw", now_ms=NOW_MS)
