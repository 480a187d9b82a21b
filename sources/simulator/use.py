"""How requests look: models, lengths, origins, programs. A key's own use and a thief's use of it are the same type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sources.simulator.arrivals import Floats
from sources.simulator.fitted import TOKEN_PROBABILITIES, TokenShape
from sources.simulator.prices import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, unit_prices

CACHEABLE: Final = 0.8  # share of a prompt that repeats, where a key uses the provider's prompt cache


@dataclass(frozen=True)
class Origin:
    """Where a request comes from."""

    ip: str
    country: str
    asn: int


@dataclass(frozen=True)
class Fruitless:
    """One sort of request that does no work, mostly because it fails: no tokens, no cost."""

    status: int
    error: str | None
    share: float
    endpoint: str | None = None  # where it is another than the use's own


@dataclass(frozen=True)
class Use:
    """One way of using a key. In each tuple of origins, agents and users, earlier entries come more often."""

    provider: str  # whose prices apply
    endpoint: str
    models: tuple[tuple[str, float], ...]  # name and share; shares add up to 1
    tokens: TokenShape
    origins: tuple[Origin, ...]
    user_agents: tuple[str, ...]
    user_ids: tuple[str | None, ...]
    fruitless: tuple[Fruitless, ...] = ()
    input_factor: float = 1.0
    output_factor: float = 1.0
    cached_share: float = 0.0  # of requests that find their prompt in the provider's cache; 0 = cache not used

    @property
    def writes_cache(self) -> bool:
        """Only Anthropic bills the writing of its cache."""
        return self.cached_share > 0 and self.provider == "anthropic"


def token_table(quantiles: tuple[float, ...], factor: float, cap: float) -> Floats:
    """Quantiles times `factor`, at least one token and at most `cap`."""
    return np.clip(np.array(quantiles) * factor, 1.0, cap)


def mean_tokens(table: Floats) -> float:
    """Mean of the distribution drawn from quantiles: log-linear between them, flat beyond the outermost two."""
    p = np.array(TOKEN_PROBABILITIES)
    low, high = table[:-1], table[1:]
    ratio = np.log(high / low)
    between = np.where(ratio < 1e-9, low, (high - low) / np.maximum(ratio, 1e-9))
    return float(p[0] * table[0] + (np.diff(p) * between).sum() + (1 - p[-1]) * table[-1])


def expected_request_usd(use: Use) -> float:
    """Mean cost of one request, failing ones included."""
    input_tokens = mean_tokens(token_table(use.tokens.input_tokens, use.input_factor, MAX_INPUT_TOKENS))
    output_tokens = mean_tokens(token_table(use.tokens.output_tokens, use.output_factor, MAX_OUTPUT_TOKENS))
    cached = CACHEABLE * use.cached_share
    written = CACHEABLE * (1 - use.cached_share) if use.writes_cache else 0.0
    usd = 0.0
    for model, share in use.models:
        price = unit_prices(use.provider, model)
        per_input = (1 - cached - written) * price.input + cached * price.cached_input + written * price.cache_write
        usd += share * (input_tokens * per_input + output_tokens * price.output)
    return usd * (1 - sum(fruitless.share for fruitless in use.fruitless))
