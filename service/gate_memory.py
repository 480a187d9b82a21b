"""A gate's file of what it knows: written whole or not at all, read at the start."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import structlog

from gate.memory import Damaged, Remembered, unpacked

_NAME = "known.gate"
log = structlog.get_logger()


class GateMemory:
    """In a folder of this replica alone."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / _NAME
        self._writing = threading.Lock()  # the last word at the end must not meet one that is still on its way

    def read(self) -> Remembered | None:
        """None where nothing was kept, or what was kept is damaged; that is logged."""
        try:
            return unpacked(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as error:
            log.warning("what the gate kept on disk is not used", path=str(self._path), why=str(error))
            return None

    def write(self, data: bytes) -> None:
        """Blocking. OSError where the disk does not take it: what was there stays."""
        with self._writing:
            self._folder.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
