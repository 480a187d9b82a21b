"""A compacted topic as it stands: the newest record under each key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import structlog
from pydantic import ValidationError

from schemas.records import Record
from streams.follow import follow

R = TypeVar("R", bound=Record)
log = structlog.get_logger()


class NewestRecords(Generic[R]):
    """What `follow` reads, by the records' keys; in the order of the topic, which has one partition."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._newest: dict[str, R] = {}

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """One record of the topic; True when it changed something."""
        name = (key or b"").decode(errors="replace")
        if not value:  # a tombstone
            return self._newest.pop(name, None) is not None
        try:
            record = self._kind.from_bytes(value)
        except ValidationError:
            log.warning("a record of another kind; it counts for nothing", expected=self._kind.__name__)
            return False
        if self._newest.get(name) == record:
            return False
        self._newest[name] = record
        return True

    def get(self, name: str) -> R | None:
        return self._newest.get(name)

    def all(self) -> Mapping[str, R]:
        return MappingProxyType(self._newest)


async def read_newest(bootstrap: str, topic: str, partitions: int, kind: type[R]) -> Mapping[str, R]:
    """Everything up to the topic's present end."""
    found = NewestRecords(kind)
    await follow(bootstrap, topic, partitions, take=found.take, changed=_nothing, stopping=lambda: True)
    return found.all()


async def follow_newest(
    bootstrap: str, topic: str, partitions: int, found: NewestRecords[R], *,
    changed: Callable[[], None] = lambda: None, stopping: Callable[[], bool],
) -> None:  # fmt: skip
    """Keep `found` current until `stopping`; `changed` is said whenever all there is has been read."""
    await follow(bootstrap, topic, partitions, take=found.take, changed=changed, stopping=stopping)


def _nothing() -> None: ...
