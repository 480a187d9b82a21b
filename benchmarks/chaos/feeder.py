"""Producers: they send each record, at its time, until somebody has said that it is taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from benchmarks.chaos.traffic import SPEED, Sent, Traffic
from tests.integration.world import ENVIRON

_AT_ONCE: Final = 200
_AGAIN_S: Final = 0.5


@dataclass
class Feeder:
    """`counts` are tries and what they were answered."""

    bootstrap: str
    topic: str
    intakes: Sequence[str]  # URLs
    counts: Counter[str] = field(default_factory=Counter)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _sending: set[asyncio.Task[None]] = field(default_factory=set)

    async def feed(self, traffic: Traffic) -> None:
        """Returns when everything is taken."""
        began_s = asyncio.get_running_loop().time()
        headers = {"authorization": f"Bearer {ENVIRON['KEYFUSE_INTAKE_TOKEN']}"}
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5)
        await producer.start()
        async with httpx.AsyncClient(headers=headers, timeout=10, trust_env=False) as http:
            try:
                for record in traffic.records:
                    early_s = record.at_s / SPEED - (asyncio.get_running_loop().time() - began_s)
                    if early_s > 0.02:
                        await asyncio.sleep(early_s)
                    await self._room.acquire()
                    self._start(record, producer, http)
                await asyncio.gather(*self._sending)
            finally:
                for task in self._sending:
                    task.cancel()
                await producer.stop()

    def _start(self, record: Sent, producer: AIOKafkaProducer, http: httpx.AsyncClient) -> None:
        task = asyncio.create_task(
            self._by_http(http, record) if record.way == "http" else self._by_kafka(producer, record)
        )
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._room.release()

    async def _by_kafka(self, producer: Any, record: Sent) -> None:  # noqa: ANN401 - aiokafka ships no types
        while True:
            try:
                await producer.send_and_wait(self.topic, record.value, partition=record.partition)
            except KafkaError as error:
                self.counts[f"kafka: {type(error).__name__}"] += 1
                await asyncio.sleep(_AGAIN_S)
            else:
                self.counts["kafka: taken"] += 1
                return

    async def _by_http(self, http: httpx.AsyncClient, record: Sent) -> None:
        for number in range(1_000_000):
            url = self.intakes[(record.partition + number) % len(self.intakes)]
            try:
                answer = await http.post(f"{url}/v1/events", content=record.value)
            except httpx.HTTPError as error:
                self.counts[f"http: {type(error).__name__}"] += 1
            else:
                self.counts[f"http: {answer.status_code}"] += 1
                if answer.status_code == httpx.codes.ACCEPTED:
                    return
            await asyncio.sleep(_AGAIN_S)
