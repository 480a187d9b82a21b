from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.client import open_store
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty, migrated store in the one engine of this process."""
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.connection.command(f"DROP DATABASE {opened.connection.rows('SELECT currentDatabase()')[0][0]} SYNC")
    opened.close()
