"""What all stages of one worker share: where they read and write, and what they are seen by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from service.install import Install, wall_ms
from streams.changelog import Changelog
from streams.health import Health
from streams.kafka import Timing
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import StateTopic, Topic


@dataclass
class Edges:
    """Of one worker."""

    install: Install
    bootstrap: str
    producer: AIOKafkaProducer
    outbox: Outbox
    metrics: Metrics
    health: Health
    timing: Timing
    now_ms: Callable[[], int] = wall_ms
    closing: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)
    """Called when the worker stops, the newest first."""

    def group(self, stage: str) -> str:
        return f"{self.install.topics.prefix}keyfuse-{stage}"

    def topic(self, topic: Topic) -> tuple[str, int]:
        """Its name, and how many partitions it has."""
        return self.install.topics.name(topic), self.install.topics.count(topic)

    def changelog(self, topic: StateTopic) -> Changelog:
        return Changelog(self.bootstrap, self.install.topics.state_name(topic), self.producer)
