"""The embedded broker forgets everything at a restart; issued keys and exceptions must not be forgotten with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from controls.registry import Registry
from schemas.exception import PolicyException
from storage.errors import StoreError
from storage.history import exceptions
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


async def begin_exceptions(
    known: Callable[[], Awaitable[Mapping[str, PolicyException]]], store: Callable[[], Store], outbox: Outbox
) -> int:
    """The same for exceptions; `known` reads those of the topic."""
    if await known():
        return 0
    try:
        stored = await asyncio.to_thread(lambda: exceptions(store()))
    except StoreError as error:
        log.warning("the store is away: exceptions that were given before are not known", why=str(error))
        return 0
    await outbox.send(Topic.EXCEPTIONS, [(one.exception_id, one) for one in stored])
    return len(stored)
