"""What the commands about policies know besides the folder: issued keys and exceptions, where the broker answers."""

from __future__ import annotations

import asyncio

from schemas.exception import PolicyException
from service.errors import UserError
from service.install import Install
from service.request_commands import bootstrap_of
from streams.errors import BrokerDown
from streams.kafka import wait_for_broker
from streams.keys import read_keys
from streams.newest_records import read_newest
from streams.topics import Topic

_PATIENCE_S = 3.0


def learn(install: Install) -> str:
    """Take them into the install; returns why it could not be done, empty when it was."""
    try:
        asyncio.run(_learn(install, bootstrap_of(install)))
    except (UserError, BrokerDown) as error:
        return f"issued keys and exceptions are not known here: {error}"
    return ""


async def _learn(install: Install, bootstrap: str) -> None:
    topics = install.topics
    await wait_for_broker(bootstrap, timeout_s=_PATIENCE_S)
    await read_keys(bootstrap, topics.name(Topic.KEYS), topics.count(Topic.KEYS), take=install.registry.take)
    name, count = topics.name(Topic.EXCEPTIONS), topics.count(Topic.EXCEPTIONS)
    install.except_for((await read_newest(bootstrap, name, count, PolicyException)).values())
