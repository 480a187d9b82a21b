"""The configuration folder of a test of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class FolderWith(Protocol):
    """Makes `keyfuse.d` of texts, `keys=TEXT` for keys.yaml, in the directory that the test runs in."""

    def __call__(self, **files: str) -> Path: ...
