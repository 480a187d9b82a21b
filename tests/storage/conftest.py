"""A store in each of the two places it can be: in this process, and behind ClickHouse's HTTP interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from storage.client import open_store
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn
from tests.storage.clickhouse_process import ClickHouseProcess, running_clickhouse

NewStore = Callable[[], Store]


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseProcess]:
    """One server for all tests of this process."""
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="session", params=["in the process", "over HTTP"])
def new_store(request: pytest.FixtureRequest) -> Iterator[NewStore]:
    """Makes empty, migrated stores in one of the two places; they are closed at the end."""
    server = request.getfixturevalue("clickhouse") if request.param == "over HTTP" else None
    with ExitStack() as closing:

        def new() -> Store:
            store = open_store(_dsn(server), password=SecretStr("hunter2") if server else None)
            closing.callback(store.close)
            migrate(store, retention_days=36_500)
            return store

        yield new


@pytest.fixture
def store(new_store: NewStore) -> Iterator[Store]:
    """An empty one for one test."""
    opened = new_store()
    yield opened
    _drop(opened)


@pytest.fixture
def embedded() -> Iterator[Store]:
    """... of the engine of this process."""
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    _drop(opened)
    opened.close()


def _dsn(server: Any) -> str:
    dsn = fresh_dsn()
    return f"clickhouse://keyfuse@{server.address}/{dsn.partition('=')[2]}" if server else dsn


def _drop(store: Store) -> None:
    store.connection.command(f"DROP DATABASE {store.connection.rows('SELECT currentDatabase()')[0][0]} SYNC")
