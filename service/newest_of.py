"""A compacted topic as a command needs it: the newest record under each key, or a clear error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from schemas.records import Record
from service.errors import UserError
from service.install import Install
from service.request_commands import bootstrap_of
from streams.errors import BrokerDown
from streams.kafka import wait_for_broker
from streams.newest_records import read_newest
from streams.topics import Topic

R = TypeVar("R", bound=Record)


def newest_of(install: Install, topic: Topic, kind: type[R]) -> Mapping[str, R]:
    """All of the topic by the records' keys. UserError when the broker does not answer."""
    bootstrap, topics = bootstrap_of(install), install.topics

    async def read() -> Mapping[str, R]:
        await wait_for_broker(bootstrap, timeout_s=5)
        return await read_newest(bootstrap, topics.name(topic), topics.count(topic), kind)

    try:
        return asyncio.run(read())
    except BrokerDown as error:
        raise UserError(str(error)) from error
