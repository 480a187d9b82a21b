"""What is ordered in a history: chains of cuts and restores, each key's own, by Keyfuse and by people."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from benchmarks.containment_faults.provider import State
from schemas.records import Command, KeyFacts, Step
from schemas.signing import Signer, private_key_from

T0_MS: Final = 1_795_428_000_000
KEYS: Final = tuple(f"key-{number:02d}" for number in range(40))
MADE_UP: Final = ("made-up-1", "made-up-2", "made-up-3")
SIGNER: Final = Signer(private_key_from(b"d" * 32))
SPAN_S: Final = 9_000.0
Place = Callable[[Command], Awaitable[None]]
Chain = Callable[[Place], Awaitable[None]]


class Placed(NamedTuple):
    """An order and when it was given."""

    at_s: float
    command: Command


@dataclass(frozen=True)
class Plan:
    """Who will order what, and how the keys stand before."""

    chains: tuple[Chain, ...]
    first: Mapping[str, State]
    orders: int


def plan_for(seed: str, orders: int) -> Plan:
    """So many orders over all keys. Two of one key are a minute or more apart: see docs/reliability.md."""
    rng = random.Random(f"{seed}/plan")
    lengths: dict[str, int] = {}
    for _ in range(orders):
        key = rng.choice(KEYS) if rng.random() < 0.97 else rng.choice(MADE_UP)
        lengths[key] = lengths.get(key, 0) + 1
    chains = tuple(partial(_chain, seed, key, length) for key, length in lengths.items())
    first = {key: State("disable") if rng.random() < 0.05 else State() for key in KEYS}
    return Plan(chains, first, orders)


async def _chain(seed: str, key: str, length: int, place: Place) -> None:
    rng = random.Random(f"{seed}/chain {key}")
    await asyncio.sleep(rng.uniform(0, SPAN_S))
    before: Step = "restore"
    for number in range(length):
        before = _next(rng, before)
        await place(_command(seed, key, number, before, rng))
        await asyncio.sleep(rng.uniform(60, 900))


def _next(rng: random.Random, before: Step) -> Step:
    """After a cut often a restore, else a harder step or the same again."""
    steps: tuple[Step, ...] = ("throttle", "disable", "revoke", "restore")
    weights = (25, 65, 5, 5) if before == "restore" else (5, 30, 10, 55)
    return rng.choices(steps, weights)[0]


def _command(seed: str, key: str, number: int, step: Step, rng: random.Random) -> Command:
    automatic = step in ("throttle", "disable") and (key in MADE_UP or rng.random() < 0.4)
    at_ms = T0_MS + round(asyncio.get_running_loop().time() * 1000)
    return Command(
        command_id=f"cmd {seed} {key} {number}", at_ms=at_ms, incident_id=f"inc {seed} {key}", key_id=key, step=step,
        automatic=automatic, reversible=step != "revoke", mode="auto", by="keyfuse" if automatic else "ann",
        approvals=() if automatic else ("ann", "bob"), reason="a drill",
        facts=KeyFacts(provider="faulty", env="prod"),
    )  # fmt: skip
