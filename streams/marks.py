"""`keyfuse.marks` to everybody who asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from schemas.records import Mark
from streams.follow import follow

log = structlog.get_logger()


class NewestMarks:
    """The newest version of each mark; whatever order they come in, and however often."""

    def __init__(self) -> None:
        self._marks: dict[str, Mark] = {}

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """One record of the topic; True when it changed something. What is no mark is left to the archive to bury."""
        if value is None:  # a tombstone
            return self._marks.pop((key or b"").decode(errors="replace"), None) is not None
        try:
            mark = Mark.from_bytes(value)
        except ValidationError:
            log.warning("not a mark; it counts for nothing", bytes=len(value))
            return False
        known = self._marks.get(mark.mark_id)
        if known is not None and (known == mark or mark.at_ms < known.at_ms):
            return False
        self._marks[mark.mark_id] = mark
        return True

    def all(self) -> list[Mark]:
        """Withdrawn ones too, in the order of their ids."""
        return [self._marks[mark_id] for mark_id in sorted(self._marks)]


async def read_marks(bootstrap: str, topic: str, partitions: int) -> list[Mark]:
    """All marks up to the topic's present end."""
    found: list[Mark] = []
    await follow_marks(bootstrap, topic, partitions, changed=found.extend, stopping=lambda: True)
    return found


async def follow_marks(
    bootstrap: str, topic: str, partitions: int, *, changed: Callable[[Sequence[Mark]], None],
    stopping: Callable[[], bool],
) -> None:  # fmt: skip
    """Tell all marks once they are read, and again whenever one was added, changed or withdrawn, until `stopping`."""
    newest = NewestMarks()
    await follow(
        bootstrap, topic, partitions, take=newest.take, changed=lambda: changed(newest.all()), stopping=stopping
    )
