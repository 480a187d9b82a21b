"""What the stages say during the demo, read from their topics like any other reader would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer

from schemas.records import AuditRow, Command, Finding, Incident, Outcome, Record
from streams.topics import Topic, Topics

_TYPES: dict[Topic, type[Record]] = {
    Topic.FINDINGS: Finding,
    Topic.INCIDENTS: Incident,
    Topic.COMMANDS: Command,
    Topic.OUTCOMES: Outcome,
    Topic.AUDIT: AuditRow,
}

_OTHERS = (b'"type":"request"', b'"type":"mint"')
"""What goes to the contain stage besides commands."""


@dataclass
class Watch:
    """Newest versions of incidents, and everything in the order it came."""

    bootstrap: str
    topics: Topics
    told: list[Record] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    _consumer: Any = None
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        names = [self.topics.name(topic) for topic in _TYPES]
        self._consumer = AIOKafkaConsumer(
            *names, bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest",
            enable_auto_commit=False,
        )  # fmt: skip
        await self._consumer.start()
        self._task = asyncio.create_task(self._read(), name="demo-watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    def of(self, key_id: str) -> list[Record]:
        """All that was told about one key, in order."""
        return [record for record in self.told if getattr(record, "key_id", "") == key_id]

    async def _read(self) -> None:
        kinds = {self.topics.name(topic): kind for topic, kind in _TYPES.items()}
        async for message in self._consumer:
            if any(other in message.value for other in _OTHERS):
                continue
            record = kinds[message.topic].from_bytes(message.value)
            self.told.append(record)
            if isinstance(record, Incident):
                self.incidents[record.incident_id] = record
            elif isinstance(record, Outcome):
                self.outcomes.append(record)
