"""The price book against the table it reads from."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from genai_prices import Usage as TableUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.pricing import PriceBook, Usage

NOW_MS = 1_795_428_000_000
BOOK = PriceBook()
MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5-mini"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-4-5"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("openrouter", "deepseek/deepseek-chat"),
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.tuples(*[st.integers(0, 30_000)] * 4),
    st.integers(1_600_000_000_000, 1_900_000_000_000),
)
def test_a_price_is_what_the_table_says_at_that_time(
    names: tuple[str, str], tokens: tuple[int, int, int, int], ts_ms: int
) -> None:
    provider, model = names
    fresh, cached, written, output = tokens
    total = fresh + cached + written
    usage = TableUsage(input_tokens=total, cache_read_tokens=cached, cache_write_tokens=written, output_tokens=output)
    at = datetime.fromtimestamp(ts_ms / 1000, UTC)
    expected = calc_price(usage, model, provider_id=provider, genai_request_timestamp=at).total_price
    nano = BOOK.cost_nano_usd(
        provider, model, input_tokens=total, cached=cached, cache_write=written, output=output, ts_ms=ts_ms
    )
    assert nano is not None
    assert abs(nano - float(expected) * 1e9) <= 1


@pytest.mark.parametrize(
    ("provider", "model", "like"),
    [
        ("openai", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("my-gateway", "gpt-4o", ("openai", "gpt-4o")),
        ("unknown", "claude-opus-4-5", ("anthropic", "claude-opus-4-5")),
        ("gemini", "gemini/gemini-2.5-flash", ("google", "gemini-2.5-flash")),
        ("OpenAI", "GPT-4o", ("openai", "gpt-4o")),
    ],
)
def test_names_of_gateways_are_understood(provider: str, model: str, like: tuple[str, str]) -> None:
    assert price(provider, model) == price(*like) != 0


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("nobody", "nothing"), ("", ""), ("openai", "/")]
)
def test_what_is_not_in_the_table_has_no_price(provider: str, model: str) -> None:
    assert price(provider, model) is None


def price(provider: str, model: str) -> int | None:
    return BOOK.cost_nano_usd(provider, model, input_tokens=1000, cached=100, cache_write=0, output=10, ts_ms=NOW_MS)


def test_cached_tokens_beyond_the_input_never_lower_the_cost() -> None:
    def cost(tokens: int) -> int | None:
        return BOOK.cost_nano_usd(
            "openai", "gpt-4o", input_tokens=tokens, cached=500, cache_write=0, output=0, ts_ms=NOW_MS
        )

    assert cost(0) == cost(500) == 500 * 1250


def test_a_price_changes_within_a_day_and_between_days() -> None:
    def cost(hour: int, day: int = 1) -> int | None:
        ts_ms = int(datetime(2025, 7, day, hour, tzinfo=UTC).timestamp() * 1000)
        return BOOK.cost_nano_usd(
            "deepseek", "deepseek-chat", input_tokens=1000, cached=0, cache_write=0, output=100, ts_ms=ts_ms
        )

    assert cost(3) == cost(3, day=2)
    assert cost(3) != cost(20)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*MODELS, ("openai", "no-such-model")]), st.integers(0, 10**10), st.integers(0, 86_400_000)
        ),
        min_size=1,
        max_size=30,
    )
)
def test_a_column_costs_what_its_rows_cost(rows: list[tuple[tuple[str, str], int, int]]) -> None:
    count = [tokens for _, tokens, _ in rows]
    ts_ms = [NOW_MS + after for _, _, after in rows]
    usage = Usage(np.array(count), np.array(count) // 3, np.array(count) // 5, np.array(count) // 7, np.array(ts_ms))
    kind = pa.dictionary(pa.int32(), pa.string())
    provider, model = (pa.array([names[side] for names, _, _ in rows], kind) for side in (0, 1))
    costs, known = BOOK.column_nano_usd(provider, model, usage)
    alone = [
        BOOK.cost_nano_usd(
            *names, input_tokens=n, cached=n // 3, cache_write=n // 5, output=n // 7, ts_ms=NOW_MS + after
        )
        for names, n, after in rows
    ]
    assert known.tolist() == [cost is not None for cost in alone]
    assert costs.tolist() == [cost or 0 for cost in alone]
