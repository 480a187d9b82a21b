"""Showback: costs as a file that finance imports. Money is an exact decimal; the rows add up to the sum."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from controls.costs import exact_usd
from schemas.records import rfc3339
from service.costs_answer import ROWS_MOST, CostsAnswer
from service.errors import UserError
from storage.costs import Dimension

SHOWBACK: Final[tuple[Dimension, ...]] = ("team", "app", "feature", "env", "owner", "provider", "model")
_COUNTS: Final = ("events", "requests", "errors", "unpriced", "input_tokens", "cached_input_tokens",
                  "cache_write_tokens", "output_tokens", "reasoning_tokens", "users")  # fmt: skip
_USD: Final = pa.decimal128(38, 9)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def rows(answer: CostsAnswer) -> list[dict[str, Any]]:
    """One row for each group, dearest first.

    UserError when there are more than were asked for: a part of a bill is no bill.
    """
    if len(answer.rows) >= ROWS_MOST:
        raise UserError(f"more than {ROWS_MOST:,} rows; ask for one --team, or a shorter time")
    span = {"from": rfc3339(answer.from_ms)[:10], "until": rfc3339(answer.until_ms)[:10]}
    return [
        span
        | dict(zip(SHOWBACK, row.group, strict=True))
        | {name: getattr(row, name) for name in _COUNTS}
        | {"usd": exact_usd(row.cost_nano_usd)}
        for row in answer.rows
    ]


def write_csv(answer: CostsAnswer, path: Path) -> None:
    """UTF-8 with a header line. A text that a spreadsheet would take for a formula gets a quote before it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["from", "until", *SHOWBACK, *_COUNTS, "usd"])
        writer.writeheader()
        for row in rows(answer):
            writer.writerow({name: _plain(value) for name, value in row.items()})


def write_parquet(answer: CostsAnswer, path: Path) -> None:
    """The same rows; `usd` is a decimal with nine places."""
    text = [pa.field(name, pa.string()) for name in ("from", "until", *SHOWBACK)]
    schema = pa.schema([*text, *(pa.field(name, pa.int64()) for name in _COUNTS), pa.field("usd", _USD)])
    pq.write_table(pa.Table.from_pylist(rows(answer), schema=schema), path)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
