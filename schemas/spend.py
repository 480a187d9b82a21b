"""Spend as it travels: sums of one partition and stretch of time, and where each budget stands."""

from __future__ import annotations

import zlib
from typing import Final, Literal, NamedTuple, Self

from pydantic import Field

from schemas.records import Record

BudgetLevel = Literal["ok", "soft", "projected", "degraded", "stopped"]
SLOT_S: Final = 300
"""Length of a slot: spend is told by five minutes of event time, counted from 1970."""


class SpendSum(NamedTuple):
    """What one partition of frames has seen of one (slot, key, team, app, env) while its clock was in `part`, so far.

    Absolute, not a difference, and it never falls: told twice it counts once, and of two the greater holds. A slot's
    sum is the sum over partitions and parts. When a partition speaks of a later part, its earlier ones are final; so
    whoever sums remembers the newest part alone, and an event that comes days late still counts in its own slot.
    """

    part: int  # the slot that the partition's clock (its newest event time) was in
    slot: int  # the slot that the events are dated in
    key_id: str
    team: str  # as the events say; "unknown" where they do not. What is registered of the key is stronger
    app: str
    env: str
    requests: int
    tokens: int  # input and output; what was cached or written is a part of the input
    cost_nano_usd: int
    at_ms: int  # event time of the newest row in it


class SpendSums(Record):
    """Some sums of one partition, those that grew. Compressed on its way: it is told every second."""

    type: Literal["spend"] = "spend"
    partition: int
    sums: tuple[SpendSum, ...]

    def to_bytes(self) -> bytes:
        return zlib.compress(self.model_dump_json().encode(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """ValueError when it is none."""
        try:
            return cls.model_validate_json(zlib.decompress(data))
        except zlib.error as error:
            raise ValueError(f"not compressed: {error}") from error


class BudgetStatus(Record):
    """Where one budget stands: what gates, screens and reports go by. The newest of each `budget` holds."""

    type: Literal["budget_status"] = "budget_status"
    budget: str  # its name in budgets.yaml; "quota of KEY" for the daily quota of a key
    scope: str  # "team=search env=prod": what it covers, in words
    at_ms: int  # event time it was worked out for
    period: str  # "2026-11", "2026-11-30", "last 24 h": which period
    period_from_ms: int
    period_until_ms: int  # a status of a period that is over says nothing of the next; a rolling one ends at `at_ms`
    level: BudgetLevel
    spent_nano_usd: int
    spent_tokens: int
    limit_nano_usd: int | None
    limit_tokens: int | None
    committed_nano_usd: int = 0  # of what is left, in leases that gates hold
    projected_nano_usd: int | None = None  # at the period's end
    degrade: dict[str, str] = Field(default_factory=dict)  # model pattern -> cheaper model, in force now
    reason: str = ""  # one sentence: what was crossed, how much is left


class DegradeSum(Record):
    """What moving calls to a cheaper model has saved at one gate within an hour, so far. Absolute, as sums here are."""

    type: Literal["degraded"] = "degraded"
    gate: str  # the replica and its start: a restart counts anew
    hour: int  # hours since 1970, of the gate's wall clock
    budget: str  # that was tight
    team: str
    app: str
    env: str
    model: str  # that was asked for
    instead: str  # that answered
    calls: int
    settled: int  # of them, those whose tokens are known
    spent_nano_usd: int  # for those tokens, by the price table
    saved_nano_usd: int  # what the same tokens of the asked model cost more

    @property
    def name(self) -> str:
        """The record's key in its topic."""
        return "\x1f".join((
            self.gate, str(self.hour), self.budget, self.team, self.app, self.env, self.model, self.instead
        ))  # fmt: skip
