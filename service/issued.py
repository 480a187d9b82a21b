"""An install with the keys that were issued, for commands that report on all keys."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from service.errors import UserError
from service.install import Install
from service.key_commands import registry_of


class Known(NamedTuple):
    """An install, and in words what could not be asked; empty when everything was."""

    install: Install
    said: str


def open_all(config: Path) -> Known:
    """keys.yaml alone where neither broker nor store answers: in a CI job there is nothing else."""
    install = Install.open(config)
    try:
        install.registry = registry_of(install)
    except UserError as error:
        return Known(install, f"only keys.yaml is in here, no issued key: {error}")
    return Known(install, "")
