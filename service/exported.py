"""A file that another command exported, read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from schemas.exception import PolicyException
from schemas.lines import read_records
from service.errors import UserError

T = TypeVar("T")


def read_exported(file: str, read: Callable[[Iterable[bytes]], T]) -> T:
    """What `read` makes of its lines. UserError when it cannot be opened, or `read` says ValueError."""
    try:
        with Path(file).open("rb") as lines:
            return read(lines)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error


def exceptions_of(file: str) -> tuple[PolicyException, ...]:
    """Those of `keyfuse policy exceptions --all --json`, as they held. UserError when the file cannot be read."""
    return read_exported(
        file, lambda lines: PolicyException.as_they_held(read_records(lines, PolicyException, "exception"))
    )
