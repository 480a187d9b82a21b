"""State written into a changelog from outside: what a warm-up has learned, before any worker runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.changelog import Changelog
from streams.kafka import producer

_TANSU: Final = "tansu_cluster"
_MEMBERS: Final = 5  # of a described group: error, name, state, protocol type, protocol, members


class StateRecord(Protocol):
    """One value of a stage's changelog."""

    @property
    def partition(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def value(self) -> bytes: ...


@asynccontextmanager
async def changelog_of(bootstrap: str, topic: str) -> AsyncIterator[Changelog]:
    """A changelog to read and write while the context lasts."""
    sender = producer(bootstrap)
    await sender.start()
    try:
        yield Changelog(bootstrap, topic, sender)
    finally:
        await sender.stop()


async def holds_state(changelog: Changelog, partitions: int) -> bool:
    """Whether anything was ever written to these partitions."""
    for partition in range(partitions):
        await changelog.load(partition)
    return any(changelog.items(partition) for partition in range(partitions))


async def write_state(changelog: Changelog, states: Sequence[StateRecord]) -> int:
    """Write in the order given; returns the bytes. Each is safe at the broker before the next is sent."""
    for partition in sorted({state.partition for state in states}):
        await changelog.claim(partition)  # else what an owner wrote before would count for more
        await changelog.load(partition)
    written = 0
    for state in states:
        await changelog.put(state.partition, f"{state.partition}:{state.name}".encode(), state.value)
        written += len(state.value)
    return written


async def is_read_by_someone(bootstrap: str, group: str) -> bool:
    """Whether the consumer group has members. False also where the broker does not tell: Tansu forgets nobody."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if (await admin.describe_cluster())["cluster_id"] == _TANSU:
            return False
        answers = await admin.describe_consumer_groups([group])
    except KafkaError:
        return False
    finally:
        await admin.close()
    return any(described[_MEMBERS] for answer in answers for described in answer.groups)
