"""The price table read as a list: which of the models that a key may use is the dearest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

_OPEN_CONTEXT: Final = 1_000_000  # taken for a model whose context the table does not tell


class Price(NamedTuple):
    """One model's price, tokens in USD per million."""

    provider: str
    model: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    context_tokens: int

    @property
    def usd_per_token(self) -> float:
        """Of the dearer sort of its tokens."""
        return max(self.input_usd_per_mtok, self.output_usd_per_mtok) / 1e6

    def request_usd(self, input_tokens: float | None, output_tokens: float | None) -> float:
        """The dearest request; None: as long as the model's context."""
        most = float(self.context_tokens)
        into, out = most if input_tokens is None else input_tokens, most if output_tokens is None else output_tokens
        return (into * self.input_usd_per_mtok + out * self.output_usd_per_mtok) / 1e6


@lru_cache(maxsize=1)
def price_list() -> tuple[Price, ...]:
    """Every model of the package's table that has a price per token; of a changing price the highest."""
    providers = data_snapshot.get_snapshot().providers
    return tuple(price for provider in providers for model in provider.models if (price := _price(provider.id, model)))


def dearest(provider: str, permits: Callable[[str], bool], cost: Callable[[Price], float]) -> Price | None:
    """The permitted model for which `cost` is highest; of the provider where the table knows it, else of all.

    >>> found = [dearest("openai", permits, lambda price: price.usd_per_token)
    ...          for permits in (lambda model: model.startswith("gpt-4o-mini"), lambda _: True, lambda _: False)]
    >>> found[0].usd_per_token < found[1].usd_per_token, found[2]
    (True, None)
    """
    known = [price for price in price_list() if price.provider == provider] or list(price_list())
    return max((price for price in known if permits(price.model)), key=cost, default=None)


@lru_cache(maxsize=1)
def dearest_per_token() -> Mapping[str, tuple[float, float]]:
    """Provider → the most nano-dollars of an input and of an output token of any of its models; "": of all providers.

    >>> dearest_per_token()["openai"] <= dearest_per_token()[""]
    True
    """
    found: dict[str, tuple[float, float]] = {}
    for price in price_list():
        for name in (price.provider, ""):
            into, out = found.get(name, (0.0, 0.0))
            found[name] = (max(into, price.input_usd_per_mtok * 1000), max(out, price.output_usd_per_mtok * 1000))
    return MappingProxyType(found)


def dearest_of(provider: str) -> tuple[float, float]:
    """Of one provider; of one that the table does not know, the most of all."""
    table = dearest_per_token()
    return table.get(provider) or table[""]


def _price(provider: str, model: ModelInfo) -> Price | None:
    prices = [model.prices] if isinstance(model.prices, ModelPrice) else [each.prices for each in model.prices]
    into = max((_usd_per_mtok(price.input_mtok) for price in prices), default=0.0)
    out = max((_usd_per_mtok(price.output_mtok) for price in prices), default=0.0)
    return Price(provider, model.id, into, out, model.context_window or _OPEN_CONTEXT) if into or out else None


def _usd_per_mtok(value: Decimal | TieredPrices | None) -> float:
    """The highest tier: a thief sends long prompts."""
    if isinstance(value, TieredPrices):
        return float(max([value.base, *(tier.price for tier in value.tiers)]))
    return float(value or 0)
