"""The traffic all benchmarks measure with: JSON events of 17 fields and about 430 bytes, the same for every seed.

Ten keys spend more than their certain limit, so that findings do come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

import numpy as np
import orjson
from aiokafka.partitioner import murmur2

START: Final = datetime(2026, 1, 5, 10, 0, 0, tzinfo=UTC)
THIEVES: Final = 10
FIELDS: Final = 17
_MODELS: Final = (
    ("openai", "gpt-4o-mini"), ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-20250514"),
    ("anthropic", "claude-3-5-haiku-20241022"),
)  # fmt: skip
_ENDPOINTS: Final = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
_AGENTS: Final = tuple(f"OpenAI/Python 2.{minor}.0" for minor in range(12))
_TEAMS: Final = ("search", "support", "payments", "research", "growth", "platform")
_ENVS: Final = ("prod", "prod", "prod", "staging")
_STOLEN_INPUT_TOKENS: Final = 900_000
_STOLEN_MODEL: Final = 1  # 2.25 USD a request
_ROUND: Final = 500  # events, of which each stolen key makes one


@dataclass(frozen=True)
class Workload:
    """`events` uses of `keys` keys, `events_per_s` of them in each second of event time."""

    events: int
    keys: int = 10_000
    events_per_s: int = 50_000
    seed: int = 7
    key_seed: int = 7
    start: datetime = START
    in_turn: bool = False  # each key before any comes again; else by chance
    stolen: bool = True  # the ten breach their limits: two of a hundred events are theirs, and large


@dataclass(frozen=True, slots=True)
class _Key:
    """What stays the same from use to use of one key; `constant` is its part of the JSON."""

    key_id: str
    constant: str
    ips: tuple[str, ...]


def keys_of(workload: Workload) -> list[_Key]:
    """The keys, each with its own habits."""
    rng = np.random.default_rng(workload.key_seed)
    return [_key(number, rng) for number in range(workload.keys)]


def _key(number: int, rng: np.random.Generator) -> _Key:
    key_id = "fp1:" + blake2b(f"key {number}".encode(), digest_size=16).hexdigest()
    model, team, env, agent, app, a, b = rng.integers(0, (4, 6, 4, 12, 40, 200, 256)).tolist()
    provider, model_name = _MODELS[_STOLEN_MODEL if number < THIEVES else model]
    constant = orjson.dumps(
        {
            "provider": provider,
            "key_id": key_id,
            "model": model_name,
            "endpoint": _ENDPOINTS[provider],
            "country": "DE",
            "user_agent": _AGENTS[agent],
            "team": _TEAMS[team],
            "app": f"{_TEAMS[team]}-service-{app}",
            "env": _ENVS[env],
        }
    ).decode()[1:-1]
    return _Key(key_id, constant, tuple(f"10.{a}.{b}.{host}" for host in rng.integers(1, 255, 3).tolist()))


def events(workload: Workload) -> Iterator[tuple[str, bytes]]:
    """(key_id, JSON) in the order of event time."""
    keys, n = keys_of(workload), workload.events
    rng = np.random.default_rng(workload.seed + 1)
    of = (np.arange(n) % workload.keys if workload.in_turn else rng.integers(0, workload.keys, n)).tolist()
    inputs = rng.lognormal(6.5, 0.8, n).astype(np.int64).tolist()
    outputs = rng.lognormal(5.0, 0.8, n).astype(np.int64).tolist()
    latencies = np.round(rng.lognormal(6.5, 0.5, n), 1).tolist()
    hosts = rng.integers(0, 3, n).tolist()
    start_s = int(workload.start.timestamp())
    second, clock = -1, ""
    for number, place in enumerate(of):
        stolen = workload.stolen and number % _ROUND < THIEVES
        at_s, ms = divmod(number * 1000 // workload.events_per_s, 1000)
        if at_s != second:
            second, clock = at_s, f"{datetime.fromtimestamp(start_s + at_s, UTC):%Y-%m-%dT%H:%M:%S}"
        key = keys[number % _ROUND if stolen else place]
        text = (
            f'{{"event_id":"req_{workload.seed:04x}{number:020x}","ts":"{clock}.{ms:03d}Z",'
            f'"input_tokens":{_STOLEN_INPUT_TOKENS if stolen else inputs[number]},'
            f'"cached_input_tokens":{inputs[number] // 4},"output_tokens":{outputs[number]},"status":200,'
            f'"latency_ms":{latencies[number]},"ip":"{key.ips[hosts[number]]}",{key.constant}}}'
        )
        yield key.key_id, text.encode()


def partitioned(pairs: Iterator[tuple[str, bytes]], partitions: int) -> list[list[bytes]]:
    """The values by the partition of their key, as Kafka's own producers place records with that key."""
    of_key: dict[str, int] = {}
    placed: list[list[bytes]] = [[] for _ in range(partitions)]
    for key_id, value in pairs:
        partition = of_key.get(key_id)
        if partition is None:
            partition = of_key[key_id] = (murmur2(key_id.encode()) & 0x7FFFFFFF) % partitions
        placed[partition].append(value)
    return placed


def packed(values: list[bytes], per_record: int) -> list[bytes]:
    """NDJSON records of several events each."""
    return [b"\n".join(values[start : start + per_record]) for start in range(0, len(values), per_record)]
