"""Records as commands export them: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pydantic import ValidationError

from schemas.records import Record

R = TypeVar("R", bound=Record)


def read_records(lines: Iterable[bytes], kind: type[R], what: str) -> list[R]:
    """Every record, in the order of the lines; empty lines are passed over. `what` is what the records are called.

    Raises:
        ValueError: a line is no such record; the message has its number.
    """
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(kind.from_bytes(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise ValueError(f"line {number} is no {what}: {f'{field}: ' if field else ''}{first['msg']}") from error
    return records
