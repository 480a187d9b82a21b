"""`budgets.yaml`: what may be spent, by whom, and what one theft may cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.config.base import Config

Positive = Annotated[float, Field(gt=0)]
Period = Literal["hour", "day", "week", "month", "rolling_1h", "rolling_24h", "rolling_7d", "rolling_30d"]


class DegradeConfig(Config):
    """Cheaper models instead of a stop, as the budget tightens."""

    at_percent: Annotated[float, Field(gt=0, lt=100)] = 80
    """From this share of the budget on ..."""
    back_percent: Annotated[float, Field(ge=0, lt=100)] = 70
    """... until it is below this one again, or the period ends: so it does not flicker."""
    models: dict[str, str] = Field(default_factory=dict)
    """From a model, as a shell-style pattern, to the cheaper one that was approved: `gpt-4.1: gpt-4.1-mini`."""
    apps: tuple[str, ...] = ()
    """Applications whose owners agreed, as patterns. Empty: none, so nobody is moved without having said yes."""
    approved_by: str = ""
    """Who approved these models; stands in the report."""


class BudgetConfig(Config):
    """One budget: of the keys that match every scope given; without a scope of the whole organisation."""

    name: str = Field(min_length=1)
    """What alerts, refusals and reports call it."""
    keys: tuple[str, ...] = ()
    """key_ids. What takes over from one of them in a rotation counts, too."""
    teams: tuple[str, ...] = ()
    """Team names, as patterns."""
    apps: tuple[str, ...] = ()
    """Application names, as patterns."""
    envs: tuple[str, ...] = ()
    """Environment names, as patterns."""
    period: Period = "month"
    """hour, day, week (from Monday) and month of UTC, or a rolling window."""
    usd: Positive | None = None
    """At most so much money within the period, in USD ..."""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """... and at most so many tokens. One of the two at least."""
    owner: str = ""
    """Who answers for it, as in people.yaml."""
    escalate_to: tuple[str, ...] = ()
    """Channels of routes.yaml that are told of the last soft threshold, a projected crossing and the stop, besides the
    route of the team."""
    soft_percent: tuple[Annotated[float, Field(gt=0, le=100)], ...] = (50, 80, 95)
    """Thresholds that are told, each once in a period."""
    projected: bool = True
    """Also told, once in a period: at this pace it will be crossed before the period's end."""
    hard_stop: bool = False
    """True: gates refuse calls that would pass it. False: it is told, and the calls go on."""
    degrade: DegradeConfig | None = None
    """Cheaper models first."""
    burn_rate: bool = True
    """Paired windows on spend against the budget (1 h and 5 min, 6 h and 30 min, 3 d and 6 h), told while they burn."""


class BudgetsConfig(Config):
    """`budgets.yaml`."""

    acceptable_loss_usd: dict[str, Positive] = Field(
        default_factory=lambda: {"prod": 100.0, "staging": 25.0, "dev": 10.0}
    )
    """By environment: what one theft may cost before it must be over. Severity is measured against it."""
    default_acceptable_loss_usd: Positive = 25.0
    """For environments not listed."""
    worst_usd_per_min: Positive = 333.0
    """What a thief could spend with one key in a minute where nothing is in the way, in USD: a known theft came to
    80,000 in four hours. Take the rate limit of your account times its dearest model."""
    budgets: tuple[BudgetConfig, ...] = ()
    """All budgets. A key can be under several: each holds."""

    def acceptable(self, env: str) -> float:
        return self.acceptable_loss_usd.get(env, self.default_acceptable_loss_usd)
