"""Sends usage events at a steady rate, each stamped with the time it was due; thieves among them at known times.

    python -m benchmarks.latency.load --bootstrap HOST:PORT --topic TOPIC --partitions 4 --per-s 20000 --seconds 30

Open loop: an event is due whatever became of those before, and its `ts` is that time, also where it is sent late. So a
worker that stalls pays for every event that waited (no coordinated omission). Arrivals are random (Poisson) within
ticks of a few milliseconds, as many producers together are. One record for each event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from benchmarks.workload import Workload, keys_of
from service.install import wall_ms

TICK_S: Final = 0.005
THIEF_USD: Final = 25.0
"""One call of a thief costs more than a key may spend in a minute."""


def thief(number: int) -> str:
    """The key of one theft; each is used once."""
    return f"fp1:{number:032x}"


def wall_s() -> float:
    """Epoch seconds, in whole milliseconds."""
    return wall_ms() / 1000


def partition_of(key_id: str, partitions: int) -> int:
    """Where Kafka's own producers place records with that key."""
    place: int = (murmur2(key_id.encode()) & 0x7FFFFFFF) % partitions
    return place


class Load:
    """One run. `late_ms` is how long after it was due an event left, at worst in each tick; `thefts` when each was due
    (epoch seconds), by key.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int, *, keys: int, seed: int) -> None:
        self._producer, self._topic, self._partitions = producer, topic, partitions
        self._keys = [(key.constant, partition_of(key.key_id, partitions)) for key in keys_of(Workload(0, keys=keys))]
        self._rng = np.random.default_rng(seed)
        self._run, self._number = seed, 0  # no two runs send the same event
        self.late_ms: list[float] = []
        self.thefts: dict[str, float] = {}

    async def run(self, per_s: float, seconds: float, thieves_per_s: float, first_thief: int) -> int:
        """Returns how many events were sent."""
        began, sent, due_s = wall_s(), 0, 0.0
        acks, thefts = set[Any](), self._due_s(thieves_per_s, seconds)[::-1]
        while due_s < seconds:
            until_s = min(due_s + TICK_S, seconds)
            await asyncio.sleep(max(0.0, began + until_s - wall_s()))
            count = int(self._rng.poisson(per_s * (until_s - due_s)))
            rows: list[list[bytes]] = [[] for _ in range(self._partitions)]
            for at_s in np.sort(self._rng.uniform(due_s, until_s, count)).tolist():
                constant, partition = self._keys[self._number * 7919 % len(self._keys)]
                rows[partition].append(self._event(constant, began + at_s))
            while thefts and thefts[-1] <= until_s:
                key_id, at_s = thief(first_thief + len(self.thefts)), began + thefts.pop()
                self.thefts[key_id] = at_s
                rows[partition_of(key_id, self._partitions)].append(_theft(key_id, at_s))
            for partition, values in enumerate(rows):
                acks |= await self._send(partition, values)
            acks = {ack for ack in acks if not ack.done()}
            self.late_ms.append(1000 * (wall_s() - began - due_s))
            sent, due_s = sent + sum(map(len, rows)), until_s
        await asyncio.gather(*acks)
        return sent

    def _due_s(self, per_s: float, seconds: float) -> list[float]:
        """When thefts are due: at random in equal shares of the time, so out of step with what ends by seconds."""
        count = int(per_s * seconds)
        due_s: list[float] = ((np.arange(count) + self._rng.uniform(size=count)) / per_s).tolist()
        return due_s

    def _event(self, constant: str, at_s: float) -> bytes:
        self._number += 1
        return (
            f'{{"event_id":"req_{self._run:08x}{self._number:016x}","ts":{int(at_s * 1000)},"input_tokens":700,'
            f'"cached_input_tokens":200,"output_tokens":150,"status":200,"latency_ms":612.5,"ip":"10.1.2.3",{constant}}}'
        ).encode()

    async def _send(self, partition: int, values: list[bytes]) -> set[Any]:
        sent, batch = set(), self._producer.create_batch()
        for value in values:
            if batch.append(key=None, value=value, timestamp=None) is None:
                sent.add(await self._producer.send_batch(batch, self._topic, partition=partition))
                batch = self._producer.create_batch()
                batch.append(key=None, value=value, timestamp=None)
        if batch.record_count():
            sent.add(await self._producer.send_batch(batch, self._topic, partition=partition))
        return sent


def _theft(key_id: str, at_s: float) -> bytes:
    event = {
        "event_id": f"theft-{key_id}", "ts": int(at_s * 1000), "provider": "own", "key_id": key_id,
        "model": "gpt-4o", "endpoint": "/v1/chat/completions", "input_tokens": 900_000, "output_tokens": 10,
        "cost_usd": THIEF_USD, "status": 200, "ip": "10.9.9.9", "team": "search", "app": "shop", "env": "prod",
    }  # fmt: skip
    return json.dumps(event).encode()


async def send(asked: argparse.Namespace) -> dict[str, Any]:
    """What was sent, and how late."""
    producer = AIOKafkaProducer(bootstrap_servers=asked.bootstrap, max_batch_size=500_000, linger_ms=0)
    await producer.start()
    try:
        load = Load(producer, asked.topic, asked.partitions, keys=asked.keys, seed=asked.seed)
        began = wall_s()
        sent = await load.run(asked.per_s, asked.seconds, asked.thieves_per_s, asked.first_thief)
        lasted_s = wall_s() - began
        late = np.percentile(load.late_ms, [50, 99, 100])
        return {
            "sent": sent, "began_s": began, "per_s": sent / lasted_s, "thefts": load.thefts,
            "late_ms": {"p50": round(late[0], 1), "p99": round(late[1], 1), "max": round(late[2], 1)},
        }  # fmt: skip
    finally:
        await producer.stop()


async def generate(
    bootstrap: str, topic: str, *, per_s: float, seconds: float, first: int, thieves_per_s: float
) -> dict[str, Any]:
    """One run of the generator, in its own process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.latency.load", "--bootstrap", bootstrap, "--topic", topic,
        "--per-s", str(per_s), "--seconds", str(seconds), "--thieves-per-s", str(thieves_per_s),
        "--first-thief", str(first), "--seed", str(first), stdout=subprocess.PIPE,
    )  # fmt: skip
    told, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the generator failed: its error stands above")
    found: dict[str, Any] = json.loads(told)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--per-s", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--thieves-per-s", type=float, default=1)
    parser.add_argument("--first-thief", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="another one for each run on a topic")
    print(json.dumps(asyncio.run(send(parser.parse_args()))))


if __name__ == "__main__":
    main()
