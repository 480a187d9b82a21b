"""What producers send, and what it must add up to: by key and minute, and record by bad record. Pure.

A record comes late, twice, or to another partition than the one before it, and its events in any order.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import orjson

from schemas.records import DeadReason
from tests.integration.uses import T0_MS, Event, ndjson, use

KEYS: Final = tuple(f"key_{number:02}" for number in range(60))
SPEED: Final = 4.0  # seconds of event time in a second
_NORMAL_RPS: Final = 0.25  # of each key
_THEFT_RPS: Final = 12.0
_THEFT_S: Final = 60.0  # of event time
_LATE_SHARE: Final = 0.03
_LATE_S: Final = 120.0
_TWICE_SHARE: Final = 0.02
_HTTP_SHARE: Final = 0.15
MINUTE_MS: Final = 60_000
THEFT: Final = {
    "cost_usd": 0.02, "model": "gpt-5-pro", "ip": "100.64.3.9", "country": "VN",
    "user_agent": "python-requests/2.32.5",
}  # fmt: skip


class Total(NamedTuple):
    """Of one key in one minute."""

    events: int
    tokens: int
    nano_usd: int


class Sent(NamedTuple):
    """One record. `at_s` is when, in seconds of event time after the beginning."""

    at_s: float
    way: Literal["kafka", "http"]
    partition: int
    value: bytes


class Dead(NamedTuple):
    """What a bad record comes to: which event of it, -1 for the whole, and why."""

    place: int
    reason: DeadReason


@dataclass(frozen=True)
class Traffic:
    """All records in order, and what is in them."""

    records: Sequence[Sent]
    events: Sequence[Event]  # good ones, each once
    stolen: tuple[str, ...]
    bad: Mapping[bytes, tuple[Dead, ...]]  # by the record's bytes
    end_s: float

    def totals(self) -> dict[tuple[str, int], Total]:
        """By key and minute (epoch milliseconds)."""
        sums: Counter[tuple[str, int, str]] = Counter()
        for event in self.events:
            minute = event["ts"] // MINUTE_MS * MINUTE_MS
            for name, more in (
                ("events", 1), ("tokens", event["input_tokens"] + event["output_tokens"]),
                ("nano_usd", round(event["cost_usd"] * 1e9)),
            ):  # fmt: skip
                sums[event["key_id"], minute, name] += more
        places = {(key, minute) for key, minute, _ in sums}
        return {place: Total(*(sums[*place, name] for name in Total._fields)) for place in places}

    def bad_sent(self) -> int:
        return sum(record.value in self.bad for record in self.records)


def made_up(seed: int, *, seconds: float, thefts: int, partitions: int) -> Traffic:
    """Traffic for so many seconds of the wall clock."""
    rng = random.Random(seed)
    end_s = seconds * SPEED
    stolen = tuple(rng.sample(KEYS, thefts))
    uses = [*_normal(rng, end_s), *_thefts(rng, stolen, end_s)]
    # One last use of every key closes the second before it.
    last = [(end_s + 10, use(f"last-{key}", key, T0_MS + round((end_s + 10) * 1000))) for key in KEYS]
    bad = dict(_bad(rng))
    whole = [event for _, event in uses]
    mixed, good = _mixed(rng, end_s)
    records = sorted(
        [
            *_records(rng, uses, partitions),
            *(Sent(at_s, "kafka", rng.randrange(partitions), ndjson([event])) for at_s, event in last),
            *(Sent(rng.uniform(0, end_s), "kafka", rng.randrange(partitions), value) for value in [*bad] * 3),
            *(Sent(at_s, "kafka", rng.randrange(partitions), value) for at_s, value, _ in mixed),
        ],
        key=lambda sent: sent.at_s,
    )
    events = [*whole, *good, *(event for _, event in last)]
    return Traffic(records, events, stolen, bad | {value: dead for _, value, dead in mixed}, end_s)


def _normal(rng: random.Random, end_s: float) -> Iterator[tuple[float, Event]]:
    for key in KEYS:
        yield from _uses(rng, key, 0, end_s, _NORMAL_RPS)


def _thefts(rng: random.Random, stolen: Sequence[str], end_s: float) -> Iterator[tuple[float, Event]]:
    for key in stolen:
        begin_s = rng.uniform(0.1, 0.85) * end_s
        yield from _uses(rng, key, begin_s, min(begin_s + _THEFT_S, end_s), _THEFT_RPS, **THEFT)


def _uses(
    rng: random.Random, key: str, begin_s: float, end_s: float, rps: float, **changes: object
) -> Iterator[tuple[float, Event]]:
    """(when it is sent, event)."""
    at_s = begin_s + rng.expovariate(rps)
    while at_s < end_s:
        tokens = {"input_tokens": rng.randint(50, 400), "output_tokens": rng.randint(5, 60)}
        late_s = rng.uniform(0, _LATE_S) if rng.random() < _LATE_SHARE else 0.0
        event = use(f"{rng.getrandbits(64):016x}", key, T0_MS + int(at_s * 1000), **tokens, **changes)
        yield min(at_s + late_s, end_s), event
        at_s += rng.expovariate(rps)


def _records(rng: random.Random, uses: Sequence[tuple[float, Event]], partitions: int) -> Iterator[Sent]:
    """Objects, arrays and lines of random sizes, to any partition."""
    waiting: list[tuple[float, Event]] = []
    size = 1
    for pair in sorted(uses, key=lambda pair: pair[0]):
        waiting.append(pair)
        if len(waiting) >= size:
            yield from _record(rng, waiting, partitions)
            waiting, size = [], rng.choice([1, 1, 2, 5, 20])
    if waiting:
        yield from _record(rng, waiting, partitions)


def _record(rng: random.Random, pairs: list[tuple[float, Event]], partitions: int) -> Iterator[Sent]:
    events = [event for _, event in pairs]
    rng.shuffle(events)
    value = ndjson(events) if rng.random() < 0.5 else orjson.dumps(events)
    sent = Sent(pairs[-1][0], "http" if rng.random() < _HTTP_SHARE else "kafka", rng.randrange(partitions), value)
    yield sent
    if rng.random() < _TWICE_SHARE:
        yield sent._replace(at_s=sent.at_s + rng.uniform(1, 60), partition=rng.randrange(partitions))


def _bad(rng: random.Random) -> Iterator[tuple[bytes, tuple[Dead, ...]]]:
    """Whole records that nobody can take."""
    event = use("bad", "key_of_bad_use", T0_MS)
    whole = orjson.dumps(event)
    for value, reason in (
        (b"not json at all", DeadReason.NOT_JSON),
        (whole[: rng.randrange(20, len(whole) - 1)], DeadReason.NOT_JSON),
        (whole.replace(b"DE", b"\xff\xfe"), DeadReason.NOT_UTF8),
        (b'{"hello": "world"}', DeadReason.UNKNOWN_FORMAT),
        (orjson.dumps(event | {"input_tokens": -1}), DeadReason.INVALID_FIELD),
        (orjson.dumps(event | {"model": ""}), DeadReason.INVALID_FIELD),
        (orjson.dumps(event | {"ts": 0}), DeadReason.TIME_OUT_OF_RANGE),
        (orjson.dumps(event | {"ts": "2099-01-01T00:00:00Z"}), DeadReason.TIME_OUT_OF_RANGE),
    ):
        yield value, (Dead(-1 if reason in _WHOLE else 0, reason),)


_WHOLE: Final = frozenset({DeadReason.NOT_JSON, DeadReason.NOT_UTF8})


def _mixed(rng: random.Random, end_s: float) -> tuple[list[tuple[float, bytes, tuple[Dead, ...]]], list[Event]]:
    """Arrays in which one event is bad and the others count."""
    records, good = list[tuple[float, bytes, tuple[Dead, ...]]](), list[Event]()
    for number in range(12):
        at_s = rng.uniform(0, end_s)
        three = [use(f"mixed-{number}-{n}", rng.choice(KEYS), T0_MS + int(at_s * 1000)) for n in range(3)]
        index = rng.randrange(3)
        good += [event for n, event in enumerate(three) if n != index]
        three[index] |= {"status": -1}
        records.append((at_s, orjson.dumps(three), (Dead(index, DeadReason.INVALID_FIELD),)))
    return records, good
