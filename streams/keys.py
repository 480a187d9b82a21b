"""`keyfuse.keys` to everybody who asks: the newest version of each key that commands made or changed."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from pydantic import ValidationError

from schemas.key_record import KeyRecord
from streams.follow import follow

log = structlog.get_logger()


def taking(take: Callable[[KeyRecord], bool]) -> Callable[[bytes | None, bytes | None], bool]:
    """One record of the topic into `take`, which tells whether it changed something. What is no key is nobody's."""

    def record(_: bytes | None, value: bytes | None) -> bool:
        try:
            return take(KeyRecord.from_bytes(value or b""))
        except ValidationError:
            log.warning("not a key; it counts for nothing", bytes=len(value or b""))
            return False

    return record


async def read_keys(bootstrap: str, topic: str, partitions: int, *, take: Callable[[KeyRecord], bool]) -> None:
    """All that is there now."""
    await follow_keys(bootstrap, topic, partitions, take=take, stopping=lambda: True)


async def follow_keys(
    bootstrap: str, topic: str, partitions: int, *, take: Callable[[KeyRecord], bool],
    stopping: Callable[[], bool], changed: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Each version, first what is there and then what comes; `changed` where one changed something."""
    await follow(bootstrap, topic, partitions, take=taking(take), changed=changed, stopping=stopping)
