"""What the simulated models cost, in USD per token, from the same table that prices real events.

Cached and cache-written tokens are part of `input_tokens`, as in the table. Long-context surcharges are left out:
simulated requests stay below MAX_INPUT_TOKENS, where none applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from genai_prices import Usage, calc_price

MAX_INPUT_TOKENS: Final = 190_000
MAX_OUTPUT_TOKENS: Final = 32_000
_ASKED: Final = 1000  # tokens per question to the table
_AS_OF: Final = datetime(2026, 11, 1, tzinfo=UTC)  # fixed, so that a run does not depend on its day


@dataclass(frozen=True)
class ProviderModels:
    """Models of one provider by size; `dearest` is what a thief picks and no healthy key here uses."""

    small: str
    middle: str
    large: str
    dearest: str
    endpoint: str
    models_endpoint: str


PROVIDERS: Final = {
    "openai": ProviderModels("gpt-5-nano", "gpt-5-mini", "gpt-5.1", "gpt-5-pro", "/v1/responses", "/v1/models"),
    "anthropic": ProviderModels(
        "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5", "claude-opus-4-1", "/v1/messages", "/v1/models"
    ),
    "google": ProviderModels(
        "gemini-2.5-flash-lite",
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "gemini-3.1-pro-preview",
        "/v1beta/models:generateContent",
        "/v1beta/models",
    ),
}
REASONING: Final = frozenset(
    {"gpt-5-nano", "gpt-5-mini", "gpt-5.1", "gpt-5-pro", "gemini-2.5-pro", "gemini-3.1-pro-preview"}
)


@dataclass(frozen=True)
class UnitPrices:
    """USD per token of each sort; reasoning tokens are output tokens."""

    input: float
    cached_input: float
    cache_write: float
    output: float


@cache
def unit_prices(provider: str, model: str) -> UnitPrices:
    """Prices of one model; LookupError when the table does not know it."""

    def usd_per_token(usage: Usage) -> float:
        price = calc_price(usage, model, provider_id=provider, genai_request_timestamp=_AS_OF)
        return float(price.total_price) / _ASKED

    return UnitPrices(
        input=usd_per_token(Usage(input_tokens=_ASKED)),
        cached_input=usd_per_token(Usage(input_tokens=_ASKED, cache_read_tokens=_ASKED)),
        cache_write=usd_per_token(Usage(input_tokens=_ASKED, cache_write_tokens=_ASKED)),
        output=usd_per_token(Usage(output_tokens=_ASKED)),
    )
