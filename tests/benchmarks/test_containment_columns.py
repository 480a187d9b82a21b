"""Columns of uses, what they cost, and the frames made of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.containment.columns import NOBODY, START_MS, Ledger, Owner, Uses, merged, nothing, uses
from benchmarks.containment.frames import FrameMaker
from detectors.core import ScoreCore
from schemas.config.detectors import DetectorsConfig
from schemas.frame import FRAME_SCHEMA
from sources.pricing import PriceBook


def ledger() -> Ledger:
    return Ledger([Owner("fp1:a", "openai", "search", "rerank", "prod"), Owner("fp1:b", "anthropic", "x", "y", "dev")])


def rows(of: Ledger, at_s: list[int], **columns: int) -> Uses:
    named = {"model": of.texts.code("gpt-5-mini"), "ip": of.texts.code("198.18.0.7"), "key": 0, **columns}
    key = named.pop("key")
    return uses(key=key, ts_ms=START_MS + np.array(at_s, np.int64) * 1000, **named)


def test_money_is_what_the_service_itself_would_price() -> None:
    book = ledger()
    asked = rows(book, [0], input_tokens=1000, cached_tokens=400, output_tokens=300)
    bought = rows(
        book, [0], key=1, model=book.texts.code("claude-sonnet-4-5"), input_tokens=900, written_tokens=200,
        output_tokens=50,
    )  # fmt: skip
    prices = PriceBook()
    same = {"ts_ms": START_MS}
    wanted = [
        prices.cost_nano_usd("openai", "gpt-5-mini", input_tokens=1000, cached=400, cache_write=0, output=300, **same),
        prices.cost_nano_usd(
            "anthropic", "claude-sonnet-4-5", input_tokens=900, cached=0, cache_write=200, output=50, **same
        ),
    ]
    assert book.priced(merged([asked, bought])).cost_nano_usd.tolist() == wanted


def test_what_failed_costs_nothing_and_an_unknown_model_is_an_error() -> None:
    book = ledger()
    assert book.priced(rows(book, [0], input_tokens=1000, status=429)).usd == 0
    with pytest.raises(LookupError):
        book.priced(rows(book, [0], input_tokens=1000, model=book.texts.code("no-such-model")))


def test_merging_keeps_time_order_and_the_earlier_part_first() -> None:
    book = ledger()
    whole = merged([rows(book, [5, 9], actor=1), nothing(), rows(book, [2, 5], actor=2)])
    assert [(int(at), int(actor)) for at, actor in zip(whole.ts_ms - START_MS, whole.actor, strict=True)] == [
        (2000, 2), (5000, 1), (5000, 2), (9000, 1),
    ]  # fmt: skip
    assert whole.between(START_MS + 3000, START_MS + 9000).rows == 2


def test_frames_are_those_of_the_service() -> None:
    book = ledger()
    maker = FrameMaker(book)
    both = merged([rows(book, [1, 700]), rows(book, [2], key=1, error=book.texts.code("server_error"))])
    first, second = maker.frames(both, chunk_s=600)
    assert first.schema.equals(FRAME_SCHEMA)
    assert first.column("key_id").to_pylist() == ["fp1:a", "fp1:b"]
    assert first.column("provider").to_pylist() == ["openai", "anthropic"]
    assert first.column("error").to_pylist() == [None, "server_error"]
    assert first.column("network").to_pylist() == ["198.18.0.0/24"] * 2
    assert first.column("country").to_pylist() == [None, None]
    assert first.column("raw_offset").to_pylist() + second.column("raw_offset").to_pylist() == [0, 1, 2]
    assert maker.next_offset == 3


def test_a_frame_names_only_the_texts_that_occur_in_it() -> None:
    book = ledger()
    for number in range(50):
        book.texts.code(f"a text of somebody else {number}")
    frame = FrameMaker(book).frame(rows(book, [1]))
    assert frame.column("model").dictionary.to_pylist() == ["gpt-5-mini"]


def test_how_rows_are_cut_into_frames_changes_no_window() -> None:
    book = ledger()
    many = book.priced(rows(book, list(range(0, 3600, 7)), input_tokens=500, output_tokens=100))
    seen = []
    for chunk_s in (10, 600):
        core = ScoreCore(DetectorsConfig(), partition=0, shards=1)
        for frame in FrameMaker(book).frames(many, chunk_s=chunk_s):
            core.process(frame)
        seen.append(core.windows("fp1:a"))
    assert seen[0] == seen[1]
    assert seen[0] is not None
    assert seen[0]["requests_1h"] == many.rows


def test_rows_belong_to_the_owner_unless_said_otherwise() -> None:
    assert rows(ledger(), [1]).actor.tolist() == [NOBODY]
