"""The topic of leases, from its lender's side: read to its end, written in order, each write acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
from aiokafka import AIOKafkaProducer
from pydantic import TypeAdapter, ValidationError

from schemas.lease import LenderRecord
from streams.follow import follow

ADAPTER: TypeAdapter[LenderRecord] = TypeAdapter(LenderRecord)
log = structlog.get_logger()


class LeaseLog(Protocol):
    """What the lender's stage needs of it."""

    async def read(self) -> list[tuple[str, LenderRecord]]:
        """The newest of each key, in the order of the topic."""

    async def write(self, out: Sequence[tuple[str, LenderRecord | None]]) -> None:
        """In this order; returns when all replicas of the broker have it."""


class KafkaLeaseLog:
    """The topic itself."""

    def __init__(self, bootstrap: str, topic: str, producer: AIOKafkaProducer) -> None:
        self._bootstrap, self._topic, self._producer = bootstrap, topic, producer

    async def read(self) -> list[tuple[str, LenderRecord]]:
        newest: dict[str, LenderRecord] = {}

        def take(key: bytes | None, value: bytes | None) -> bool:
            name = (key or b"").decode(errors="replace")
            newest.pop(name, None)  # what comes again goes to the end
            record = readable(value)
            if record is not None:
                newest[name] = record
            return False

        await follow(self._bootstrap, self._topic, 1, take=take, changed=lambda: None, stopping=lambda: True)
        return list(newest.items())

    async def write(self, out: Sequence[tuple[str, LenderRecord | None]]) -> None:
        acks = [
            await self._producer.send(
                self._topic, None if record is None else record.to_bytes(), key=key.encode(), partition=0
            )
            for key, record in out
        ]
        for ack in acks:
            await ack


def readable(value: bytes | None) -> LenderRecord | None:
    """None of a tombstone, and of what no lender wrote."""
    if value is None:
        return None
    try:
        return ADAPTER.validate_json(value)
    except ValidationError:
        log.warning("not a record of a lender; it counts for nothing", bytes=len(value))
        return None
