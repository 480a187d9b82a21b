"""The one function every topic is routed by."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.partition import partition_of


def test_it_is_the_same_on_every_machine_for_ever() -> None:
    assert partition_of("", 16) == 0
    assert partition_of("fp1:0123456789abcdef0123456789abcdef", 16) == 10


def test_keys_spread_over_all_partitions() -> None:
    counts = Counter(partition_of(f"fp1:{n:032x}", 8) for n in range(8000))
    assert sorted(counts) == list(range(8))
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_a_topic_without_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        partition_of("k", 0)
