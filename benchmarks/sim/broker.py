"""A broker in memory: logs that keep what they acknowledged, and consumer groups with generations."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError


class Record(NamedTuple):
    """As aiokafka hands it out, as far as the stages look."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Committed(NamedTuple):
    offset: int
    metadata: str


class Broker:
    """Logs by topic and partition."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.appended: Callable[[Record], None] = lambda _: None

    def append(
        self, tp: TopicPartition, value: bytes, key: bytes | None = None, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Record:
        log = self.logs[tp]
        record = Record(tp.topic, tp.partition, len(log), key, value, headers)
        log.append(record)
        self.appended(record)
        return record

    def end(self, tp: TopicPartition) -> int:
        return len(self.logs[tp])


class Member(Protocol):
    """Who reads. `revoke` is heard before anybody reads on from the last commit."""

    def revoke(self) -> None: ...

    def assign(self, generation: int, partitions: list[TopicPartition]) -> None: ...


@dataclass
class Group:
    """One group on one topic. The generation fences commits, and nothing else, as Kafka's does."""

    partitions: list[TopicPartition]
    rng: random.Random
    checked: Callable[[TopicPartition, int], None]
    """Told of each commit: is all before it durable?"""
    committed: dict[TopicPartition, Committed] = field(default_factory=dict)
    generation: int = 0
    members: list[Member] = field(default_factory=list)

    def join(self, member: Member) -> None:
        if member not in self.members:
            self.members.append(member)
            self.rebalance()

    def leave(self, member: Member) -> None:
        """By itself, or because nothing was heard of it: it is not told."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        for member in self.members:
            member.revoke()
        self.generation += 1
        shuffled = self.rng.sample(self.partitions, len(self.partitions))
        for place, member in enumerate(self.members):
            member.assign(self.generation, shuffled[place :: len(self.members)])

    def position(self, tp: TopicPartition) -> int:
        return self.committed[tp].offset if tp in self.committed else 0

    def commit(self, member: Member, generation: int, offsets: dict[TopicPartition, Committed]) -> None:
        if member not in self.members or generation != self.generation:
            raise CommitFailedError
        for tp, committed in offsets.items():
            self.checked(tp, committed.offset)
            self.committed[tp] = committed
