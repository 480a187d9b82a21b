"""The newest version of each incident in memory, for those who are asked about one: a click names only its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from schemas.records import CLOSED, Incident
from streams.kafka import at_end

LOOK_BACK_MS: Final = 7 * 86_400_000  # an answer to something older than a week is looked up in the store
_MOST: Final = 20_000
log = structlog.get_logger()


class IncidentView:
    """Incidents by id and by key, in whatever order and however often their versions come. Bounded."""

    def __init__(self, most: int = _MOST) -> None:
        self.filled = asyncio.Event()  # what was there when it began to follow has been read
        self._most = most
        self._by_id: dict[str, Incident] = {}  # the least recently changed first
        self._by_key: dict[str, str] = {}

    def take(self, value: bytes) -> bool:
        """One record of the topic; True when it is a newer version. What is no incident is left to the archive."""
        try:
            incident = Incident.from_bytes(value)
        except ValidationError:
            log.warning("not an incident; it is not shown to anybody", bytes=len(value))
            return False
        known = self._by_id.pop(incident.incident_id, None)
        newer = known is None or incident.seq > known.seq
        self._by_id[incident.incident_id] = incident if newer or known is None else known
        latest = self.of_key(incident.key_id)
        if latest is None or incident.opened_at_ms >= latest.opened_at_ms:
            self._by_key[incident.key_id] = incident.incident_id
        if len(self._by_id) > self._most:
            self._forget(next(iter(self._by_id)))
        return newer

    def get(self, incident_id: str) -> Incident | None:
        return self._by_id.get(incident_id)

    def of_key(self, key_id: str) -> Incident | None:
        """The key's newest incident, open or closed."""
        return self._by_id.get(self._by_key.get(key_id, ""))

    def open(self) -> list[Incident]:
        """What is not over, most recently changed first."""
        return [incident for incident in reversed(self._by_id.values()) if incident.state not in CLOSED]

    def complete(self) -> bool:
        """Whether what was there when it began to follow has been read."""
        return self.filled.is_set()

    def _forget(self, incident_id: str) -> None:
        gone = self._by_id.pop(incident_id)
        if self._by_key.get(gone.key_id) == incident_id:
            del self._by_key[gone.key_id]


async def follow_incidents(
    bootstrap: str, topic: str, partitions: int, *, view: IncidentView, since_ms: int, stopping: Callable[[], bool]
) -> None:
    """Keep the view current, from `since_ms` of the broker's clock on, until `stopping`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        starts = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            start = starts.get(tp)
            consumer.seek(tp, start.offset if start is not None else ends[tp])
        while not stopping():
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    view.take(record.value)
            if not view.filled.is_set() and await at_end(consumer, tps):
                view.filled.set()
    finally:
        await consumer.stop()
