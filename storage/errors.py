"""What can go wrong with the store.

StoreError
├── Unreachable   nobody answers, or not now (network, overload, disk full): the same call may be repeated
└── Rejected      the store understood and said no (wrong password, schema, bad value): repeating changes nothing

A caller that writes repeats on Unreachable with the same token and stops on Rejected:

    try:
        store.insert_usage(table, token)
    except Unreachable:
        ...  # again, later, with this very table and token
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base. `str()` is a sentence for people and holds no password; `code` is ClickHouse's own number, if any."""

    retry: ClassVar[bool]

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(StoreError):
    """Not now. Try again with the same arguments."""

    retry = True


class Rejected(StoreError):
    """Never like this. A person must look."""

    retry = False
