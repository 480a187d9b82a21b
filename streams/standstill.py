"""Which stages live and no longer commit, or never came back to their group: those have to begin anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


class Place(NamedTuple):
    """How far a group is in one partition, and where that ends."""

    committed: int
    end: int


class Stuck(NamedTuple):
    """A partition whose stage has to begin anew."""

    where: str  # the same words for the same place
    why: str
    in_vain: int  # so often its stage was told to begin anew since it last committed, this time included


class Standstill:
    """Of one group. Pure: what the broker says in, what stands still out.

    Each partition is counted by itself: that others move does not help the one that stands.

    >>> still, tp = Standstill(after_s=60), TopicPartition("usage.raw", 0)
    >>> still.look({tp: Place(5, 9)}, {tp}, now_s=0), still.look({tp: Place(5, 9)}, {tp}, now_s=59)
    ([], [])
    >>> still.look({tp: Place(5, 12)}, {tp}, now_s=60)[0].why
    'usage.raw-0 stands at 5 for 60 s, 7 records behind'
    >>> still.look({tp: Place(12, 12)}, {tp}, now_s=61)
    []
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._since_s: dict[TopicPartition, float] = {}  # when it was first seen where it stands, with more to read
        self._committed: dict[TopicPartition, int] = {}
        self._in_vain: dict[TopicPartition, int] = {}

    def forget(self) -> None:
        """Nothing is known of the time until now: the broker did not answer, or the stage waits for the store."""
        self._since_s.clear()

    def look(
        self, places: Mapping[TopicPartition, Place], mine: Collection[TopicPartition], *, now_s: float
    ) -> list[Stuck]:
        """Empty while all moves; else the time of every partition begins anew, as its stage is to do. Of a partition
        that somebody else has been given, that one is to judge; who has been given none judges all, for it may be the
        one who never came back.
        """
        for tp, place in places.items():
            self._saw(tp, place, now_s)
        stuck = [self._stuck(tp, places[tp], now_s) for tp in sorted(set(mine) & places.keys() or places.keys())]
        found = [one for one in stuck if one is not None]
        if found:
            self.forget()
        return found

    def _saw(self, tp: TopicPartition, place: Place, now_s: float) -> None:
        moved = self._committed.get(tp, place.committed) != place.committed
        self._committed[tp] = place.committed
        if moved:
            self._in_vain.pop(tp, None)
        if moved or place.committed >= place.end:
            self._since_s.pop(tp, None)
        if place.committed < place.end:
            self._since_s.setdefault(tp, now_s)

    def _stuck(self, tp: TopicPartition, place: Place, now_s: float) -> Stuck | None:
        stands_s = now_s - self._since_s.get(tp, now_s)
        if stands_s < self._after_s:
            return None
        self._in_vain[tp] = self._in_vain.get(tp, 0) + 1
        where = f"{tp.topic}-{tp.partition} stands at {place.committed}"
        behind = place.end - place.committed
        return Stuck(where, f"{where} for {stands_s:.0f} s, {behind} records behind", self._in_vain[tp])


async def places_of(bootstrap: str, group: str, tps: Collection[TopicPartition]) -> dict[TopicPartition, Place]:
    """By clients of their own, for those of the stage may be what is broken. Raises KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        await admin.start()
        await consumer.start()
        offsets = await admin.list_consumer_group_offsets(group, partitions=list(tps))
        first, ends = await consumer.beginning_offsets(list(tps)), await consumer.end_offsets(list(tps))
    finally:
        await admin.close()
        await consumer.stop()
    committed = {tp: offsets[tp].offset if tp in offsets else -1 for tp in tps}
    return {tp: Place(max(committed[tp], first[tp]), ends[tp]) for tp in tps}
