"""Every topic, in the order of the flow. One direction: what a person says back is a record on `requests`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Topic(StrEnum):
    """Names without the install's prefix."""

    RAW = "usage.raw"
    FRAMES = "usage.frames"
    DEAD = "usage.dead"
    STATS = "keyfuse.stats"
    FINDINGS = "keyfuse.findings"
    REQUESTS = "keyfuse.requests"
    COMMANDS = "keyfuse.commands"
    OUTCOMES = "keyfuse.outcomes"
    INCIDENTS = "keyfuse.incidents"
    SHADOW = "keyfuse.shadow"
    MARKS = "keyfuse.marks"
    VERDICTS = "keyfuse.verdicts"
    AUDIT = "keyfuse.audit"
    HOLDS = "keyfuse.holds"
    CONFIG = "keyfuse.config"
    KEY_STATES = "keyfuse.key-states"
    KEY_ASKS = "keyfuse.key-asks"
    KEYS = "keyfuse.keys"
    FOLLOW_UPS = "keyfuse.follow-ups"
    EXCEPTIONS = "keyfuse.exceptions"
    QUESTIONS = "keyfuse.questions"
    SPEND = "keyfuse.spend"
    BUDGETS = "keyfuse.budgets"
    LEASE_ASKS = "keyfuse.lease-asks"
    LEASES = "keyfuse.leases"
    GATES = "keyfuse.gates"
    SAVINGS = "keyfuse.savings"


class StateTopic(StrEnum):
    """Compacted topics that hold the stages' state."""

    SCORE = "keyfuse.score-state"
    DECIDE = "keyfuse.decide-state"
    NOTIFY = "keyfuse.notify-state"
    QUESTIONS = "keyfuse.question-state"
    IDENTITY = "keyfuse.identity-state"
    CONTAIN = "keyfuse.contain-state"
    USES = "keyfuse.uses-state"
    BUDGET = "keyfuse.budget-state"


# One partition: one reader counts over all keys (the caps on automatic steps, budgets), or everybody reads all of it.
_SINGLE: Final = frozenset({
    Topic.STATS, Topic.COMMANDS, Topic.AUDIT, Topic.DEAD, Topic.MARKS, Topic.HOLDS, Topic.CONFIG, Topic.KEY_STATES,
    Topic.KEY_ASKS, Topic.KEYS, Topic.FOLLOW_UPS, Topic.EXCEPTIONS, Topic.QUESTIONS, Topic.SPEND, Topic.BUDGETS,
    Topic.LEASE_ASKS, Topic.LEASES, Topic.GATES, Topic.SAVINGS,
})  # fmt: skip
_COMPACTED: Final = frozenset({
    Topic.VERDICTS, Topic.MARKS, Topic.KEYS, Topic.FOLLOW_UPS, Topic.EXCEPTIONS, Topic.QUESTIONS, Topic.BUDGETS,
    Topic.LEASES, Topic.GATES, Topic.SAVINGS,
})  # fmt: skip


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it must exist on the broker."""

    name: str
    partitions: int
    compacted: bool


@dataclass(frozen=True)
class Topics:
    """The topics of one install."""

    prefix: str = ""
    partitions: int = 4

    def name(self, topic: Topic) -> str:
        return f"{self.prefix}{topic.value}"

    def count(self, topic: Topic) -> int:
        return 1 if topic in _SINGLE else self.partitions

    def state_name(self, topic: StateTopic) -> str:
        return f"{self.prefix}{topic.value}"

    def specs(self) -> list[TopicSpec]:
        """All topics; a state topic has as many partitions as what its stage reads."""
        flow = [TopicSpec(self.name(topic), self.count(topic), topic in _COMPACTED) for topic in Topic]
        counts = {StateTopic.CONTAIN: 1, StateTopic.BUDGET: 1, StateTopic.QUESTIONS: 1, StateTopic.IDENTITY: 1}
        return flow + [
            TopicSpec(self.state_name(t), counts.get(t, self.partitions), compacted=True) for t in StateTopic
        ]
