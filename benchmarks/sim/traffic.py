"""What producers send: events in and out of order, sent again, or broken; a few raw records in two partitions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import orjson

from benchmarks.sim.settings import KEYS, RAW_PARTITIONS

FIRST_MS: Final = 1_795_427_000_000
_STEP_MS: Final = 20_000


@dataclass(frozen=True)
class Event:
    """One use of a key."""

    event_id: str
    key_id: str
    ts_ms: int
    milli_usd: int

    @property
    def nano_usd(self) -> int:
        return self.milli_usd * 1_000_000

    def to_json(self) -> bytes:
        return orjson.dumps(
            {
                "event_id": self.event_id, "ts": self.ts_ms, "provider": "openai", "model": "gpt-4.1",
                "key_id": self.key_id, "cost_usd": self.milli_usd / 1000,
            }
        )  # fmt: skip


@dataclass(frozen=True)
class Traffic:
    """`records` in the order they are sent: raw partition, value, and the events in it."""

    records: list[tuple[int, bytes, list[Event]]]

    @property
    def events(self) -> dict[str, Event]:
        """Each event once."""
        return {event.event_id: event for _, _, events in self.records for event in events}


def traffic(rng: random.Random, most: int) -> Traffic:
    """Of 2 to `most` raw records."""
    sent: list[tuple[int, bytes, list[Event]]] = []
    earlier: list[Event] = []
    clock_ms = FIRST_MS
    for _ in range(rng.randrange(2, most + 1)):
        clock_ms += rng.choice([0, 1, 1, 2]) * _STEP_MS
        if rng.random() < 0.03:
            sent.append((rng.randrange(RAW_PARTITIONS), b'{"broken":', []))
            continue
        events = [_event(rng, earlier, clock_ms) for _ in range(rng.choice([1, 1, 2, 3]))]
        sent.append((rng.randrange(RAW_PARTITIONS), b"\n".join(event.to_json() for event in events), events))
    return Traffic(sent)


def _event(rng: random.Random, earlier: list[Event], clock_ms: int) -> Event:
    if earlier and rng.random() < 0.15:
        return rng.choice(earlier)
    late_ms = rng.choice([0, 0, 0, 1000, 70_000])
    dear = rng.random() < 0.25
    event = Event(
        f"e{len(earlier)}",
        rng.choice(KEYS),
        clock_ms - late_ms + rng.randrange(1000),
        9000 if dear else rng.randrange(1, 9),
    )
    earlier.append(event)
    return event
