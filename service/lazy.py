"""Import a command's code when it runs, so that `keyfuse --help` answers at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def lazy(module: str) -> Any:  # noqa: ANN401 - a module, whatever it holds
    """The module by name."""
    return import_module(module)
