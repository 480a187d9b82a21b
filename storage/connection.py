"""The only module that sees ClickHouse's exceptions: statements in, rows and Arrow tables out, failures as StoreErrors.

Blocking and safe to call from several threads: the embedded driver takes a lock around each call, the HTTP driver
takes a connection from its pool (sessions, which would forbid that, are off). Call it through `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DataError,
    Error,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from pydantic import SecretStr

from storage.errors import Rejected, StoreError, Unreachable


class Transient(IntEnum):
    """ClickHouse's codes after which the same call may succeed: it is busy, short of something, or starting."""

    TIMEOUT_EXCEEDED = 159
    TOO_SLOW = 160
    DNS_ERROR = 198
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    NO_FREE_CONNECTION = 203
    SOCKET_TIMEOUT = 209
    NETWORK_ERROR = 210
    NO_ZOOKEEPER = 225
    ABORTED = 236
    MEMORY_LIMIT_EXCEEDED = 241
    TABLE_IS_READ_ONLY = 242
    NOT_ENOUGH_SPACE = 243
    TOO_MANY_PARTS = 252
    ALL_CONNECTION_TRIES_FAILED = 279
    TOO_FEW_LIVE_REPLICAS = 285
    UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE = 286
    REPLICA_IS_NOT_IN_QUORUM = 289
    UNKNOWN_STATUS_OF_INSERT = 319
    QUERY_WAS_CANCELLED = 394
    ALL_REPLICAS_LOST = 415
    REPLICA_STATUS_CHANGED = 416
    CANNOT_SCHEDULE_TASK = 439
    DEADLOCK_AVOIDED = 473
    S3_ERROR = 499
    SERVER_OVERLOADED = 745
    KEEPER_EXCEPTION = 999


class ClickHouseConnection:
    """Statements in, rows and Arrow tables out, every failure a StoreError."""

    def __init__(self, client: Client, *, password: SecretStr | None = None) -> None:
        self._client = client
        self._password = password

    def command(
        self, sql: str, *, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run a statement that returns nothing."""
        with translated(self._password):
            self._client.command(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query; parameters are bound by the server (`{name:Type}`)."""
        with translated(self._password):
            return [tuple(row) for row in self._client.query(sql, parameters=dict(parameters or {})).result_rows]

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The same as one Arrow table: for millions of rows."""
        with translated(self._password):
            try:
                return self._client.query_arrow(sql, parameters=dict(parameters or {}))
            except pa.ArrowInvalid as error:
                raise Unreachable("the store's answer was cut short") from error

    def insert(self, table: str, rows: pa.Table, *, settings: Mapping[str, Any]) -> None:
        """Insert as one block; returns when the store has it."""
        with translated(self._password):
            self._client.insert_arrow(table, rows.combine_chunks(), settings=dict(settings))

    def close(self) -> None:
        self._client.close()


@contextmanager
def translated(password: SecretStr | None = None) -> Iterator[None]:
    """Foreign exceptions become ours here, without the password should a server ever quote it."""
    try:
        yield
    except ClickHouseError as error:
        secret = password.get_secret_value() if password else ""
        if secret and secret in str(error):
            raise _ours(error, str(error).replace(secret, "<secret>")) from None  # the cause would print it
        raise _ours(error, str(error)) from error
    except OSError as error:  # the socket, or no room for the embedded driver's spool file
        raise Unreachable(f"the store does not answer: {error}") from error


def _ours(error: ClickHouseError, text: str) -> StoreError:
    code = error.code if isinstance(error, Error) else None
    if "Error initializing EmbeddedServer" in text:
        return Rejected("the embedded store cannot be opened: another process has it open, or its files are not ours")
    if code is None and isinstance(error, OperationalError):
        return Unreachable(f"the store does not answer: {text}")
    if isinstance(error, ProgrammingError | DataError | NotSupportedError) or (
        code is not None and code not in set(Transient)
    ):
        return Rejected(f"the store refused: {text}", code=code)
    return Unreachable(f"the store could not do it now: {text}", code=code)
