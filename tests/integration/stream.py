"""Made-up traffic with two thefts at its end, as records for `usage.raw`. The same seed, the same bytes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from schemas.partition import partition_of
from tests.integration.uses import T0_MS, Event, ndjson, use

DURATION_S: Final = 600
END_S: Final = DURATION_S + 10
KEYS: Final = tuple(f"key_{number:02}" for number in range(40))
STOLEN: Final = ("key_07", "key_22")
THEFTS_S: Final = ((500, 592), (530, 598))  # shorter than a cut may take until it is doubted
_NORMAL_RPS: Final = 1.2  # of each key
_THEFT_RPS: Final = 25.0
_LATE_SHARE: Final = 0.02
_LATE_S: Final = 15.0
_RETRIED_SHARE: Final = 0.01
_BAD: Final = (b"not json at all", b'{"event_id": "x", "ts": 0}', b"\xff\xfe")


class RawRecord(NamedTuple):
    """One record as it goes to the broker. `at_s` is when, in seconds of event time after the beginning."""

    at_s: float
    partition: int
    value: bytes


@dataclass(frozen=True)
class Stream:
    """All records in order, and what is in them."""

    records: Sequence[RawRecord]
    events: Sequence[Event]  # good ones, each once
    rows: int  # good ones, those that a producer sent twice among them
    bad: int

    @property
    def usd(self) -> float:
        nano_usd: int = sum(round(event["cost_usd"] * 1e9) for event in self.events)
        return nano_usd / 1e9

    def of(self, key_id: str) -> list[Event]:
        return [event for event in self.events if event["key_id"] == key_id]


def made_up_stream(seed: int, *, partitions: int) -> Stream:
    """A key's records all go to one partition, so that their order does not depend on who reads them and when."""
    rng = random.Random(seed)
    sent = sorted(_all_uses(rng), key=lambda pair: pair[0])
    events = [event for _, event in sent]
    again = rng.sample(sent, int(len(sent) * _RETRIED_SHARE))
    sent += [(min(at_s + rng.uniform(1, 60), DURATION_S), event) for at_s, event in again]
    # One last use of every key closes the second before it.
    last = [(float(END_S), use(f"last-{key}", key, T0_MS + END_S * 1000)) for key in KEYS]
    records = sorted(_records(sorted(sent + last, key=lambda pair: pair[0]), rng, partitions))
    rows = len(sent) + len(last)
    return Stream(records, [*events, *(event for _, event in last)], rows, len(_BAD) * partitions)


def _all_uses(rng: random.Random) -> Iterator[tuple[float, Event]]:
    """(when it is sent, event)."""
    for key in KEYS:
        yield from _uses(rng, key, 0, DURATION_S, _NORMAL_RPS)
    for key, (begin_s, end_s) in zip(STOLEN, THEFTS_S, strict=True):
        yield from _uses(
            rng, key, begin_s, end_s, _THEFT_RPS, cost_usd=0.02, model="gpt-5-pro", ip="100.64.3.9", country="VN",
            user_agent="python-requests/2.32.5",
        )  # fmt: skip


def _uses(
    rng: random.Random, key: str, begin_s: float, end_s: float, rps: float, **changes: object
) -> Iterator[tuple[float, Event]]:
    at_s = begin_s + rng.expovariate(rps)
    while at_s < end_s:
        tokens = {"input_tokens": rng.randint(50, 400), "output_tokens": rng.randint(5, 60)}
        event = use(f"{rng.getrandbits(64):016x}", key, T0_MS + int(at_s * 1000), **tokens, **changes)
        late_s = rng.uniform(0, _LATE_S) if rng.random() < _LATE_SHARE else 0.0
        yield at_s + late_s, event
        at_s += rng.expovariate(rps)


def _records(sent: Sequence[tuple[float, Event]], rng: random.Random, partitions: int) -> Iterator[RawRecord]:
    """Objects, arrays and NDJSON of random sizes, and some that nobody can read."""
    waiting: dict[int, list[tuple[float, Event]]] = defaultdict(list)
    size: dict[int, int] = defaultdict(lambda: 1)
    for pair in sent:
        partition = partition_of(pair[1]["key_id"], partitions)
        waiting[partition].append(pair)
        if len(waiting[partition]) >= size[partition]:
            yield _record(partition, waiting.pop(partition), rng)
            size[partition] = rng.choice([1, 1, 2, 5, 20, 60])
    for partition, rest in waiting.items():
        yield _record(partition, rest, rng)
    for partition in range(partitions):
        for value in _BAD:
            yield RawRecord(rng.uniform(0, DURATION_S), partition, value)


def _record(partition: int, pairs: list[tuple[float, Event]], rng: random.Random) -> RawRecord:
    events = [event for _, event in pairs]
    if len(events) == 1:
        value = orjson.dumps(events[0])
    elif rng.random() < 0.5:
        value = orjson.dumps(events)
    else:
        value = ndjson(events)
    return RawRecord(pairs[-1][0], partition, value)
