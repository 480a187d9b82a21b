"""`policies.yaml` (what a key may do) and `budgets.yaml` (what it may lose)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.config.base import Config


class PolicyConfig(Config):
    """Models allowed for the keys that match every scope given; an empty scope matches all."""

    name: str = Field(min_length=1)
    """What findings call it."""
    keys: tuple[str, ...] = ()
    """key_ids."""
    teams: tuple[str, ...] = ()
    """Team names."""
    envs: tuple[str, ...] = ()
    """Environment names."""
    allowed_models: tuple[str, ...] = Field(min_length=1)
    """Shell-style patterns, `gpt-4.1*`; a model that matches none is a certain finding."""


class PoliciesConfig(Config):
    """`policies.yaml`. A model must be allowed by every policy that matches the key."""

    policies: tuple[PolicyConfig, ...] = ()
    """All policies."""


class BudgetsConfig(Config):
    """`budgets.yaml`."""

    acceptable_loss_usd: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"prod": 100.0, "staging": 25.0, "dev": 10.0}
    )
    """By environment: what one theft may cost before it must be over. Severity is measured against it."""
    default_acceptable_loss_usd: Annotated[float, Field(gt=0)] = 25.0
    """For environments not listed."""

    def acceptable(self, env: str) -> float:
        return self.acceptable_loss_usd.get(env, self.default_acceptable_loss_usd)
