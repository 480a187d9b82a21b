"""Which shard of its partition's state a key belongs to. State says how its keys are placed, and goes on so."""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import Final
from zlib import crc32


class Placement(IntEnum):
    """See docs/adr/0033-shards-are-placed-by-a-hash-of-their-own.md."""

    LIKE_PARTITIONS = 1  # by the hash that chose the partition: of 16 shards, 4 in each of 4 partitions are used
    OWN = 2


NEW: Final = Placement.OWN


def shard_of(key_id: str, shards: int, placement: Placement = NEW) -> int:
    """The same on every machine for ever.

    >>> shard_of("fp1:00", 16), shard_of("fp1:00", 16, Placement.LIKE_PARTITIONS)
    (11, 3)
    """
    if placement is Placement.LIKE_PARTITIONS:
        return crc32(b"shard:" + key_id.encode()) % shards
    return int.from_bytes(blake2b(key_id.encode(), digest_size=4, person=b"shard").digest(), "little") % shards
