"""Uses of keys as producers send them, and what the windows over them must show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import orjson

T0_MS: Final = 1_767_607_200_000  # 2026-01-05T10:00:00Z
COST_USD: Final = 0.001
_SCALES: Final = (("10s", 1, 10), ("1m", 1, 60), ("10m", 60, 10), ("1h", 60, 60))

Event = dict[str, Any]


def use(event_id: str, key_id: str | None, ts_ms: int, **changes: Any) -> Event:
    """One native event; a field given as None is left out."""
    whole = {
        "event_id": event_id, "ts": ts_ms, "provider": "sandbox", "key_id": key_id, "model": "gpt-4.1-mini",
        "endpoint": "/v1/chat/completions", "input_tokens": 100, "output_tokens": 10, "cost_usd": COST_USD,
        "ip": "203.0.113.7", "country": "DE", "user_agent": "OpenAI/Python 2.8.1", "team": "search", "app": "ranker",
        "env": "prod",
    }  # fmt: skip
    return {name: value for name, value in (whole | changes).items() if value is not None}


def uses(key_id: str, start_ms: int, *, count: int, every_ms: int = 500, **changes: Any) -> list[Event]:
    """A steady row of them."""
    return [use(f"{key_id}-{start_ms}-{n}", key_id, start_ms + n * every_ms, **changes) for n in range(count)]


def theft(key_id: str, start_ms: int, *, seconds: int = 3) -> list[Event]:
    """Half a dollar every quarter of a second from a strange place: any minute limit is broken within seconds."""
    return uses(
        key_id, start_ms, count=4 * seconds, every_ms=250, model="gpt-5-pro", cost_usd=0.5, ip="100.64.3.9",
        country="VN", user_agent="python-requests/2.32.5",
    )  # fmt: skip


def litellm(event_id: str, key_id: str, ts_ms: int) -> Event:
    """A StandardLoggingPayload as LiteLLM's proxy hands it out; costs and tokens as in `use`."""
    return {
        "id": event_id, "litellm_call_id": event_id, "call_type": "acompletion", "status": "success",
        "startTime": ts_ms / 1000, "endTime": ts_ms / 1000 + 0.4, "model": "gpt-4.1-mini",
        "custom_llm_provider": "sandbox", "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
        "response_cost": COST_USD, "requester_ip_address": "203.0.113.7", "user_agent": "OpenAI/Python 2.8.1",
        "messages": [{"role": "user", "content": "a private question"}],
        "metadata": {
            "user_api_key_hash": key_id, "user_api_key_alias": "ranker", "user_api_key_team_alias": "search",
        },
    }  # fmt: skip


def ndjson(events: Iterable[Event]) -> bytes:
    return b"\n".join(orjson.dumps(event) for event in events)


def windows_of(events: Sequence[Event], clock_s: int) -> dict[str, float]:
    """What the windows of one key must show at the clock: plain sums, to hold the rings against."""
    return dict(_windows(events, clock_s))


def _windows(events: Sequence[Event], clock_s: int) -> Iterator[tuple[str, float]]:
    for scale, width_s, reach in _SCALES:
        inside = [event for event in events if event["ts"] // 1000 // width_s > clock_s // width_s - reach]
        yield f"requests_{scale}", float(len(inside))
        yield f"tokens_{scale}", float(sum(event["input_tokens"] + event["output_tokens"] for event in inside))
        yield f"usd_{scale}", sum(round(event["cost_usd"] * 1e9) for event in inside) / 1e9
