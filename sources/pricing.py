"""What a request cost, from the price table that the package genai-prices carries. No network, no auto-update.

Conventions, the same as in the native event: `input_tokens` INCLUDES cached and cache-written tokens; reasoning
tokens are part of the output. What the table does not price apart (cached input, cache writes) costs the input
price. Where a price has tiers the base tier is used: a record may stand for many requests, and then the size of
one prompt is not known. Audio, images and tool calls are not priced.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from genai_prices import data_snapshot
from genai_prices.types import ModelPrice, TieredPrices

if TYPE_CHECKING:
    import pyarrow as pa
    from genai_prices.types import ModelInfo, Provider

    Whole = np.ndarray[tuple[int], np.dtype[np.int64]]
    Table = np.ndarray[tuple[int, int], np.dtype[np.float64]]
    Rates = tuple[float, float, float, float]

_NANO_PER_TOKEN: Final = 1000  # a price of 1 USD per million tokens is 1,000 nano-dollars per token
_SLOT_MS: Final = 900_000  # prices change on the quarter hour at the earliest
_MEMO_LIMIT: Final = 100_000
_UNKNOWN: Final = (math.nan,) * 4


class Usage(NamedTuple):
    """Columns of equal length; `input_tokens` includes `cached` and `cache_write`."""

    input_tokens: Whole
    cached: Whole
    cache_write: Whole
    output: Whole
    ts_ms: Whole


class PriceBook:
    """Resolves a provider and model once, and prices whole columns with plain arithmetic."""

    def __init__(self) -> None:
        # The lookups go past the snapshot's own caches: those have no bound, and names come from producers.
        self._providers: list[Provider] = data_snapshot.get_snapshot().providers
        self._models: dict[tuple[str, str], ModelInfo | None] = {}
        self._rates: dict[tuple[str, str, int], Rates | None] = {}

    def cost_nano_usd(
        self,
        provider: str,
        model: str,
        *,
        input_tokens: int,
        cached: int,
        cache_write: int,
        output: int,
        ts_ms: int,
    ) -> int | None:
        """Nano-dollars of one event, or None when the table has no price per token for this model.

        >>> PriceBook().cost_nano_usd(
        ...     "openai", "gpt-4o", input_tokens=1000, cached=0, cache_write=0, output=100, ts_ms=1795428000000
        ... )
        3500000
        """
        rates = self._rates_at(provider, model, ts_ms // _SLOT_MS)
        if rates is None:
            return None
        one = Usage(*(np.array([n], np.int64) for n in (input_tokens, cached, cache_write, output, ts_ms)))
        return int(_cost(np.array([rates]), one)[0])

    def per_token(self, provider: str, model: str, ts_ms: int) -> tuple[float, float] | None:
        """Nano-dollars of one uncached input token and of one output token, or None when the model has no price.

        >>> PriceBook().per_token("openai", "gpt-4o", 1795428000000)
        (2500.0, 10000.0)
        """
        rates = self._rates_at(provider, model, ts_ms // _SLOT_MS)
        return None if rates is None else (rates[0], rates[3])

    def column_nano_usd(
        self, provider: pa.DictionaryArray, model: pa.DictionaryArray, usage: Usage
    ) -> tuple[Whole, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """`cost_nano_usd` of every row and whether it is known; the cost of an unknown one is 0."""
        providers, models = provider.dictionary.to_pylist(), model.dictionary.to_pylist()
        pair = provider.indices.to_numpy().astype(np.int64) * len(models) + model.indices.to_numpy()
        pairs, row_of = np.unique(pair, return_inverse=True)
        names = [(providers[code // len(models)], models[code % len(models)]) for code in pairs.tolist()]
        rates = np.array([self._steady_rates(*name) or _UNKNOWN for name in names], np.float64)[row_of]
        for number, name in enumerate(names):
            if self._changes(*name):
                rows = np.flatnonzero(row_of == number)
                rates[rows] = self._rates_over_time(name, usage.ts_ms[rows])
        known = ~np.isnan(rates[:, 0])
        rates[~known] = 0.0
        return _cost(rates, usage), known

    def _steady_rates(self, provider: str, model: str) -> Rates | None:
        return None if self._changes(provider, model) else self._rates_at(provider, model, 0)

    def _rates_over_time(self, name: tuple[str, str], ts_ms: Whole) -> Table:
        slots, row_of = np.unique(ts_ms // _SLOT_MS, return_inverse=True)
        return np.array([self._rates_at(*name, slot) or _UNKNOWN for slot in slots.tolist()], np.float64)[row_of]

    def _changes(self, provider: str, model: str) -> bool:
        found = self._model(provider, model)
        return found is not None and not isinstance(found.prices, ModelPrice)

    def _rates_at(self, provider: str, model: str, slot: int) -> Rates | None:
        at = provider, model, slot if self._changes(provider, model) else 0
        if at not in self._rates:
            if len(self._rates) >= _MEMO_LIMIT:
                self._rates.clear()
            found = self._model(provider, model)
            self._rates[at] = None if found is None else _rates(found, slot)
        return self._rates[at]

    def _model(self, provider: str, model: str) -> ModelInfo | None:
        names = provider, model
        if names not in self._models:
            if len(self._models) >= _MEMO_LIMIT:
                self._models.clear()
            self._models[names] = self._look_up(provider, model)
        return self._models[names]

    def _look_up(self, provider: str, model: str) -> ModelInfo | None:
        """A gateway's own name for a provider is no reason to count its spend as nothing: then the model decides."""
        listed = data_snapshot.find_provider_by_id(self._providers, provider)
        for name in (model, model.partition("/")[2]):  # gateways write `openai/gpt-4o`
            seller = listed or self._maker_of(name)
            found = seller.find_model(name, all_providers=self._providers) if seller and name else None
            if found is not None:
                return found
        return None

    def _maker_of(self, model: str) -> Provider | None:
        makers = (p for p in self._providers if p.model_match is not None and p.model_match.is_match(model.lower()))
        return next(makers, None)


def _rates(model: ModelInfo, slot: int) -> Rates | None:
    """Nano-dollars per token of uncached input, cached input, cache writes and output."""
    price = model.get_prices(datetime.fromtimestamp(slot * _SLOT_MS / 1000, UTC))
    base = _base(price, "input_mtok")
    output = _base(price, "output_mtok")
    if base is None and output is None:
        return None
    read, write = _base(price, "cache_read_mtok"), _base(price, "cache_write_mtok")
    fresh = base or 0.0
    return fresh, fresh if read is None else read, fresh if write is None else write, output or 0.0


def _base(price: ModelPrice, name: str) -> float | None:
    value = getattr(price, name)
    if value is None:
        return None
    usd_per_mtok = value.base if isinstance(value, TieredPrices) else value
    return float(usd_per_mtok * _NANO_PER_TOKEN)


def _cost(rates: Table, usage: Usage) -> Whole:
    """More cached than input is a producer that counts apart: no part is then charged below zero."""
    fresh = np.maximum(usage.input_tokens - usage.cached - usage.cache_write, 0)
    parts = fresh, usage.cached, usage.cache_write, usage.output
    total = sum((rates[:, i] * part for i, part in enumerate(parts)), np.zeros(len(fresh)))
    return np.rint(total).astype(np.int64)
