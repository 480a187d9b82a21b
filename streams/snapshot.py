"""A state of several records that is replaced at once: each part has two places, and the head says which one counts.

A crash in between leaves the head, and with it the state, as it was before. So does a late write of an owner before,
where owners claim the partition (docs/adr/0031): the first thing that an owner writes is the head that it has read.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from streams.checkpoint import ShardStore
from streams.errors import Overtaken

_HEAD: Final = b"head"


class Snapshot:
    """Of one partition of a compacted topic, which has no other values."""

    def __init__(self, store: ShardStore, partition: int = 0) -> None:
        self._store, self._partition = store, partition
        head = store.get(_HEAD)
        stored: dict[str, Any] = orjson.loads(head) if head else {"places": {}, "head": None}
        self._places: dict[str, list[int]] = stored["places"]  # part -> which of its places counts, and its checksum
        self._is_ours = False  # the head in the topic is one that was written here
        self.given_up = False  # the partition is somebody else's: what is still on its way must not go on
        self.head: Any = stored["head"]
        """As it was saved last; None for a new one."""

    def part(self, name: str) -> bytes:
        """As it was saved last. KeyError when there is none, ValueError when it is damaged."""
        place, checksum = self._places[name]
        value = self._store.get(_place(name, place)) or b""
        if zlib.crc32(value) != checksum:
            raise ValueError(f"the part {name} of this state is damaged")
        return value

    async def save(self, head: Mapping[str, Any], changed: Mapping[str, bytes], keep: Iterable[str]) -> int:
        """Replace the head and the changed parts; of the others those in `keep` stay. Returns the bytes written."""
        kept = set(keep)
        places = {name: place for name, place in self._places.items() if name in kept}
        written = await self._own()
        for name, value in changed.items():
            place, checksum = self._places.get(name, [1, -1])
            now = [1 - place, zlib.crc32(value)]
            if now[1] == checksum:
                places[name] = [place, checksum]
                continue
            await self._put(_place(name, now[0]), value)
            places[name] = now
            written += len(value)
        written += await self._put_head(places, head)
        gone = self._places.keys() - places.keys()
        self._places, self.head = places, head
        for name in sorted(gone):  # an empty value takes no room; a name may come back
            for place in (0, 1):
                await self._put(_place(name, place), b"")
        return written

    async def _own(self) -> int:
        """A late head of an owner before may name the very places that are written here next. This one counts for more,
        and what it names is not written over: by now both would write to the other places.
        """
        if self._is_ours:
            return 0
        written = await self._put_head(self._places, self.head)
        self._is_ours = True
        return written

    async def _put_head(self, places: Mapping[str, list[int]], head: Any) -> int:  # noqa: ANN401 - as it was given
        packed = orjson.dumps({"places": places, "head": head})
        await self._put(_HEAD, packed)
        return len(packed)

    async def _put(self, key: bytes, value: bytes) -> None:
        if self.given_up:
            raise Overtaken("the partition has gone to another owner meanwhile")
        await self._store.put(self._partition, key, value)


def _place(name: str, place: int) -> bytes:
    return f"{name}#{place}".encode()
