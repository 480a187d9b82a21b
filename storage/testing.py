"""A real store for tests: one embedded engine per process, as chDB wants it, and a new database for each test."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

_numbers: Final = itertools.count(1)


@cache
def engine_path() -> Path:
    """The one folder this process may open with chDB; removed at exit."""
    path = Path(tempfile.mkdtemp(prefix="keyfuse-store-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def fresh_dsn() -> str:
    """A database nobody has used, in the engine of this process."""
    return f"chdb://{engine_path()}?database=test_{next(_numbers)}"
