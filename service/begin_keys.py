"""The embedded broker forgets all at a restart; keys, exceptions and follow-ups must not be forgotten with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from controls.registry import Registry
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.records import Record
from storage.errors import StoreError
from storage.history import exceptions, follow_ups
from storage.store import Store
from streams.outbox import Outbox
from streams.topics import Topic

log = structlog.get_logger()


async def begin_keys(registry: Registry, store: Callable[[], Store], outbox: Outbox) -> int:
    """Where the topic holds no key, begin with those that the store has; how many. A broker that lost its topic is
    brought back by this too: start one worker with `identity` and `archive`.
    """
    if registry.records():
        return 0
    try:
        records = await asyncio.to_thread(lambda: store().key_records())
    except StoreError as error:
        log.warning("the store is away: keys that were issued before are not known until it is back", why=str(error))
        return 0
    await outbox.send(Topic.KEYS, [(record.key_id, record) for record in records])
    for record in records:
        registry.take(record)
    if records:
        log.info("began with the keys that the store has", keys=len(records))
    return len(records)


class Lost(NamedTuple):
    """A topic whose newest records the store has too."""

    topic: Topic
    kind: type[Record]
    stored: Callable[[Store], Sequence[Record]]
    name: str  # of the field that is the record's key in the topic


LOST: Final = (
    Lost(Topic.EXCEPTIONS, PolicyException, exceptions, "exception_id"),
    Lost(Topic.FOLLOW_UPS, FollowUp, follow_ups, "follow_up_id"),
)


async def begin_newest(
    lost: Lost, known: Callable[[Topic, type[Record]], Awaitable[Mapping[str, Record]]], store: Callable[[], Store],
    outbox: Outbox,
) -> int:  # fmt: skip
    """The same for what is told by the newest version alone; `known` reads the topic."""
    if await known(lost.topic, lost.kind):
        return 0
    try:
        stored = await asyncio.to_thread(lambda: lost.stored(store()))
    except StoreError as error:
        log.warning("the store is away: what was told before is not known", topic=lost.topic.value, why=str(error))
        return 0
    await outbox.send(lost.topic, [(str(getattr(one, lost.name)), one) for one in stored])
    return len(stored)
