"""The files of `keyfuse replay`: what kind each is shows in its first bytes, whatever its name."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import UserError

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_BOM: Final = b"\xef\xbb\xbf"
_BATCH_ROWS: Final = 10_000


def read_lines(name: str) -> Iterator[bytes]:
    """One event, array or log record a line; `-` is standard input.

    Raises:
        UserError: the file is missing, broken or not what its name says.
    """
    with ExitStack() as stack:
        try:
            # Standard input stays open: it is not ours. Its end comes with ours.
            stream = sys.stdin.buffer if name == "-" else stack.enter_context(_opened(name))
            yield from _without_bom(_lines(name, cast("Any", stream)))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{name}: the gzip file is broken or cut short; copy it again") from error
        except pa.ArrowException as error:
            raise UserError(f"{name}: the parquet file cannot be read: {error}") from error
        except OSError as error:
            raise UserError(f"{name}: cannot be read: {error.strerror or error}") from error


def _opened(name: str) -> BinaryIO:
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{name}: a folder; name its files, for example {path / '*.jsonl'}")
    if not path.exists():
        raise UserError(f"{name}: no such file")
    return path.open("rb")


def _lines(name: str, stream: Any) -> Iterator[bytes]:  # noqa: ANN401 - a buffered reader, of a file or a pipe
    begins = stream.peek(4)[:4]
    if begins == _PARQUET or (name.endswith(".parquet") and begins):
        yield from _rows(name, stream)
    elif begins[:2] == _GZIP or (name.endswith(".gz") and begins):
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield from unpacked
    else:
        yield from stream


def _rows(name: str, stream: Any) -> Iterator[bytes]:  # noqa: ANN401 - as above
    if not stream.seekable():
        raise UserError(f"{name}: parquet cannot be read from a pipe; name the file")
    for batch in pq.ParquetFile(stream).iter_batches(_BATCH_ROWS):
        for row in _whole_micros(batch).to_pylist():
            given = {column: value for column, value in row.items() if value is not None}
            yield orjson.dumps(given, default=_plain, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)


def _whole_micros(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python's times end at microseconds; events end at milliseconds, so nothing that counts is lost."""
    for at, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            micros = batch.column(at).cast(pa.timestamp("us", tz=column.type.tz), safe=False)
            batch = batch.set_column(at, column.name, micros)
    return batch


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever parquet holds
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _without_bom(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Windows programs begin a file with three bytes that are no part of its first line."""
    for line in lines:
        yield line.removeprefix(_BOM)
        break
    yield from lines
