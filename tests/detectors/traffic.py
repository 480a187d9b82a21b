"""Seeded synthetic traffic: bursty keys with the shape of a day, and thefts."""

from __future__ import annotations

import math
import random
from typing import Any

from detectors.core import ScoreCore
from detectors.examples import NOW_S
from schemas.records import Finding
from tests.detectors.build import frame

Event = dict[str, Any]
DAY_S = 86_400


def healthy(seed: int, *, keys: int, days: int, busy: float = 0.15) -> list[Event]:
    """Bursts of requests, most around each key's own hour of the day; now and then another network."""
    rng = random.Random(seed)
    return [event for key in range(keys) for event in _one_key(rng, key, days * 144, busy)]


def _one_key(rng: random.Random, key: int, blocks: int, busy: float) -> list[Event]:
    peak, size, dear = rng.uniform(8, 18), rng.lognormvariate(0.5, 0.7), rng.choice([0.0, 0.1, 0.4])
    events: list[Event] = []
    for block in range(blocks):
        hour = (10 + block / 6) % 24
        near = ((hour - peak + 12) % 24 - 12) ** 2
        if rng.random() > busy * (0.1 + math.exp(-near / 18)):
            continue
        second = NOW_S + block * 600 + rng.uniform(0, 500)
        elsewhere = rng.random() < 0.003
        for _ in range(max(1, int(size * rng.lognormvariate(0.8, 0.7)))):
            second += rng.expovariate(2.0)
            tokens = int(rng.lognormvariate(6.5, 0.8))
            big = rng.random() < dear
            events.append(
                {
                    "ts_s": second, "key_id": f"k{key:02d}", "input_tokens": tokens, "output_tokens": tokens // 4,
                    "cost_usd": tokens * (8e-6 if big else 8e-7), "model": "gpt-4.1" if big else "gpt-4.1-mini",
                    "network": f"10.{key}.{rng.randint(9, 99) if elsewhere else rng.randint(0, 2)}.0/24",
                }
            )  # fmt: skip
    return events


def theft(key: int, start_s: float, *, seconds: float = 60, per_s: float = 4.0, cost_usd: float = 0.12) -> list[Event]:
    """Somebody else's requests: a dear model from a new network and country."""
    rng, events, second = random.Random(key), [], start_s
    while (second := second + rng.expovariate(per_s)) < start_s + seconds:
        events.append(
            {
                "ts_s": second, "key_id": f"k{key:02d}", "input_tokens": 6000, "output_tokens": 2000,
                "cost_usd": cost_usd, "model": "gpt-5-pro", "network": "203.0.113.0/24", "country": "RU",
                "user_agent": "curl/8",
            }
        )  # fmt: skip
    return events


def play(core: ScoreCore, events: list[Event], *, first_offset: int = 0, per_frame: int = 5000) -> list[Finding]:
    """Feed events in time order; raw offsets grow from `first_offset`."""
    ordered = sorted(events, key=lambda event: event["ts_s"])
    told: list[Finding] = []
    for start in range(0, len(ordered), per_frame):
        part = ordered[start : start + per_frame]
        told += core.process(frame([{**event, "at": first_offset + start + n} for n, event in enumerate(part)]))
    return told + core.advance(core.clock_s + 1)
