"""Spend as it travels: sums of one partition and hour, and where each budget stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.records import Record

BudgetLevel = Literal["ok", "soft", "projected", "degraded", "stopped"]


class SpendSum(Record):
    """What one partition of frames has seen of one (key, team, app, env) in one hour of event time, so far.

    Absolute, not a difference: the newest of each name replaces the one before, so that one told twice counts once.
    Sums of a scope are sums over partitions and hours.
    """

    type: Literal["spend"] = "spend"
    partition: int
    hour: int  # hours since 1970, of event time
    key_id: str
    team: str
    app: str
    env: str
    requests: int
    tokens: int  # input, output, cached and written, each once
    cost_nano_usd: int
    at_ms: int  # event time of the newest row in it

    @property
    def name(self) -> str:
        """The record's key in its topic."""
        return f"{self.partition}/{self.hour}/{self.key_id}/{self.team}/{self.app}/{self.env}"


class BudgetStatus(Record):
    """Where one budget stands: what gates, screens and reports go by. The newest of each `budget` holds."""

    type: Literal["budget_status"] = "budget_status"
    budget: str  # its name in budgets.yaml
    scope: str  # "team=search env=prod": what it covers, in words
    at_ms: int  # event time it was worked out for
    period: str  # "2026-11", "2026-11-30", "last 24 h": which period
    period_from_ms: int
    period_until_ms: int
    level: BudgetLevel
    spent_nano_usd: int
    spent_tokens: int
    limit_nano_usd: int | None
    limit_tokens: int | None
    committed_nano_usd: int = 0  # of what is left, in leases that gates hold
    projected_nano_usd: int | None = None  # at the period's end
    degrade: dict[str, str] = Field(default_factory=dict)  # model pattern -> cheaper model, in force now
    reason: str = ""  # one sentence: what was crossed, how much is left
