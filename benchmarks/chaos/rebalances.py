"""Rebalances as the broker tells of them in its log. Pure."""

from __future__ import annotations

import re
from collections import Counter


def rebalances(log: str, group: str) -> Counter[int]:
    """How many ended, by the members that then shared the partitions: who is dead is no member by then.

    >>> line = "INFO GroupMetadataManager [GroupCoordinator id=1] Stabilized group a.b generation 7 with 2 members."
    >>> rebalances(f"{line}{chr(10)}{line.replace('a.b', 'a_b')}", "a.b")
    Counter({2: 1})
    """
    found = re.findall(rf"Stabilized group {re.escape(group)} generation \d+ .*?with (\d+) members", log)
    return Counter(int(members) for members in found)
