"""Which partition a key lives on: every topic that is routed by key agrees on this one function."""

from __future__ import annotations

import zlib


def partition_of(key_id: str, partitions: int) -> int:
    """CRC-32 of the UTF-8 text, modulo the number of partitions. ValueError when there are none.

    >>> partition_of("fp1:00000000000000000000000000000001", 4)
    2
    """
    if partitions < 1:
        raise ValueError("a topic has at least one partition")
    return zlib.crc32(key_id.encode("utf-8", "surrogatepass")) % partitions
