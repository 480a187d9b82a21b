"""A real store for tests: one embedded engine per process, as chDB wants it, and a new database for each test."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from storage.client import open_store
from storage.store import Store

_numbers: Final = itertools.count(1)


@cache
def engine_path() -> Path:
    """The one folder this process may open with chDB; removed at exit."""
    path = Path(tempfile.mkdtemp(prefix="keyfuse-store-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def fresh_dsn() -> str:
    """A database nobody has used, in the engine of this process, which runs until `end_engine`.

    chDB would else end with each last one who closes it, and load all databases of the folder at each new start.
    """
    _kept_open()
    return f"chdb://{engine_path()}?database=test_{next(_numbers)}"


@cache
def _kept_open() -> Store:
    return open_store(f"chdb://{engine_path()}")


def end_engine() -> None:
    """Drops the databases, which cost work in the background. Then another folder can be opened, if no store is."""
    if not _kept_open.cache_info().currsize:
        return
    kept = _kept_open()
    for (name,) in kept.connection.rows("SELECT name FROM system.databases WHERE startsWith(name, 'test_')"):
        kept.connection.command(f"DROP DATABASE {name} SYNC")
    kept.close()
    _kept_open.cache_clear()
