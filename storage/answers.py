"""What the store answers to screens and the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KeyUse:
    """What one key used since a given minute. Provider, team, app and env are those of its latest use."""

    key_id: str
    provider: str
    team: str
    app: str
    env: str
    requests: int
    errors: int
    usd: float
    last_seen_ms: int


@dataclass(frozen=True)
class UsePoint:
    """What one key used in one minute or hour, beginning at `at_ms`."""

    at_ms: int
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    usd: float
    networks: int  # distinct origins, approximate above some hundred


@dataclass(frozen=True)
class Totals:
    """Everything the archive has counted."""

    events: int
    requests: int
    keys: int
    input_tokens: int
    output_tokens: int
    usd: float
    first_ms: int  # beginning of the first hour; 0 when there is nothing
    last_ms: int


@dataclass(frozen=True)
class Reconciliation:
    """The same events counted twice: one by one in the archive, and as the rollups were told at insert."""

    raw_events: int
    minute_events: int
    hour_events: int

    @property
    def difference(self) -> int:
        """How far the worse rollup is off. 0 in health; negative: too few in the rollup, positive: too many."""
        return max(self.minute_events - self.raw_events, self.hour_events - self.raw_events, key=abs)
