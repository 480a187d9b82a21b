"""What goes wrong, and when: drawn from a seed, printed, and the same again for the same seed. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

What = Literal[
    "SIGKILL", "SIGTERM", "SIGSTOP", "workers", "clock",
    "broker stops", "broker is killed", "store is unreachable", "store hangs", "store is killed", "store loses answers",
    "channel fails", "provider fails",
]  # fmt: skip
WORKERS: Final = 3
CHANNELS: Final = ("slack", "pagerduty", "webhook")
HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class Size:
    """How long, and how much of each. Thefts are part of the traffic."""

    seconds: float  # of faults; what is still under way is then given time
    kills: int
    pauses: int
    scalings: int
    clocks: int
    brokers: int
    stores: int
    channels: int
    providers: int
    thefts: int
    store_away_s: float  # the longest that the store is not reached
    least: Least  # what must have come of it


@dataclass(frozen=True)
class Least:
    """So that a run that was not broken enough does not pass for one that was."""

    ended: int  # processes that a fault ended
    rebalances: int
    members: frozenset[int]  # of the group, after some rebalance


FULL: Final = Size(
    seconds=660, kills=120, pauses=16, scalings=24, clocks=14, brokers=11, stores=6, channels=14, providers=6,
    thefts=12, store_away_s=150, least=Least(ended=100, rebalances=30, members=frozenset({1, 2, 3})),
)  # fmt: skip
QUICK: Final = Size(
    seconds=80, kills=8, pauses=3, scalings=5, clocks=4, brokers=2, stores=3, channels=5, providers=2, thefts=4,
    store_away_s=15, least=Least(ended=6, rebalances=3, members=frozenset()),
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """`value`: how many workers, how many seconds the clock is off, how many answers are lost, or which worker."""

    at_s: float
    what: What
    target: str = ""
    for_s: float = 0.0
    value: float = 0.0

    def __str__(self) -> str:
        target = f" {self.target}" if self.target else ""
        lasting = f" for {self.for_s:.1f} s" if self.for_s else ""
        value = f" {self.value:+.0f}" if self.what in ("workers", "clock", "store loses answers") else ""
        return f"{self.at_s:7.1f} s  {self.what}{target}{value}{lasting}"


def schedule(seed: int, size: Size) -> list[Fault]:
    """All faults, in order. The broker and the store are never stopped while they are stopped already."""
    rng = random.Random(seed)
    faults = [
        *_kills(rng, size), *_pauses(rng, size), *_scalings(rng, size), *_clocks(rng, size), *_brokers(rng, size),
        *_stores(rng, size), *_services(rng, size),
    ]  # fmt: skip
    return sorted(faults, key=lambda fault: fault.at_s)


def told(faults: Sequence[Fault]) -> str:
    """What is in a schedule, in a line."""
    counts = Counter(str(fault.what) for fault in faults)
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


def _kills(rng: random.Random, size: Size) -> Iterator[Fault]:
    """One to three workers at a moment: a machine takes down what runs on it."""
    left = size.kills
    while left:
        at_s, together = rng.uniform(5, size.seconds), min(left, rng.choice([1, 2, 3, 3]))
        for rank in range(together):
            what: What = "SIGTERM" if rng.random() < 0.3 else "SIGKILL"
            yield Fault(at_s + rng.uniform(0, 0.5), what, value=rank)
        left -= together


def _pauses(rng: random.Random, size: Size) -> Iterator[Fault]:
    """Some shorter than a session, most longer: then it goes on as a zombie."""
    for _ in range(size.pauses):
        yield Fault(
            rng.uniform(5, size.seconds), "SIGSTOP", for_s=rng.choice([0.5, 2, 6, 9, 14]), value=rng.randrange(WORKERS)
        )


def _scalings(rng: random.Random, size: Size) -> Iterator[Fault]:
    """Another number of workers each time."""
    now = 2
    for at_s in sorted(rng.uniform(2, size.seconds) for _ in range(size.scalings)):
        now = rng.choice([count for count in range(1, WORKERS + 1) if count != now])
        yield Fault(at_s, "workers", value=now)


def _clocks(rng: random.Random, size: Size) -> Iterator[Fault]:
    """Up to an hour off, in either direction, each worker by its own clock; every fourth time one is right again."""
    for number in range(size.clocks):
        off_s = 0.0 if number % 4 == 3 else rng.choice([-HOUR_S, HOUR_S - 1, rng.uniform(-HOUR_S, HOUR_S)])
        target = f"of worker {rng.choice([0, 0, 1, 1, 2])}"  # the first ones run most of the time
        yield Fault(rng.uniform(0, size.seconds), "clock", target, value=round(off_s))


def _brokers(rng: random.Random, size: Size) -> Iterator[Fault]:
    for begin_s, most_s in _apart(rng, size.brokers, size.seconds):
        what: What = rng.choice(["broker stops", "broker is killed"])
        yield Fault(begin_s, what, for_s=min(rng.uniform(1, 9), most_s))


def _stores(rng: random.Random, size: Size) -> Iterator[Fault]:
    """One time it is away for as long as can be, between shorter ones."""
    kinds: list[What] = ["store is killed", "store loses answers", "store hangs", "store is unreachable"]
    long_s, before = size.store_away_s * 1.1, rng.randrange(size.stores)  # the tenth is for coming back
    shorter = [*_apart(rng, size.stores - 1, size.seconds - long_s)]
    began_s = (size.seconds - long_s) / max(1, len(shorter)) * before
    yield Fault(began_s + 0.05 * long_s, "store is unreachable", for_s=size.store_away_s)
    for number, (begin_s, most_s) in enumerate(shorter):
        what, later_s = kinds[number % len(kinds)], long_s if number >= before else 0.0
        if what == "store loses answers":
            yield Fault(begin_s + later_s, what, value=rng.randint(1, 4))
        else:
            yield Fault(begin_s + later_s, what, for_s=min(size.store_away_s / 4, most_s))


def _services(rng: random.Random, size: Size) -> Iterator[Fault]:
    for number in range(size.channels):
        target = CHANNELS[number % len(CHANNELS)]
        yield Fault(rng.uniform(0, size.seconds), "channel fails", target, for_s=rng.uniform(5, 40))
    for _ in range(size.providers):
        yield Fault(rng.uniform(0, size.seconds), "provider fails", for_s=rng.uniform(3, 12))


def _apart(rng: random.Random, count: int, seconds: float) -> Iterator[tuple[float, float]]:
    """When each begins and how long it may last, so that it is over well before the next."""
    share_s = seconds / max(1, count)
    for number in range(count):
        offset_s = rng.uniform(0.05, 0.3) * share_s
        yield number * share_s + offset_s, share_s * 0.9 - offset_s
