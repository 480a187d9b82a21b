"""A large folder is read and checked by a process of its own, so that no call waits for it that this one has to answer.

A thread would hold the interpreter, with 40,000 keys for nearly a second at a time: while native code checks the data,
and when all of YAML's nodes are given back at once. `python -m service.folder_reader FOLDER` is the other process: it
writes the folder, or all mistakes in it, to its standard output, for nobody but the one that began it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import structlog

from service.config_errors import ConfigError, ConfigErrors
from service.config_folder import load_folder
from service.config_tree import Folder

_LARGE_BYTES: Final = 500_000
"""About 4,000 keys: what takes longer than to start a process."""
_PATIENCE_S: Final = 600
_NICE: Final = 5
log = structlog.get_logger()


def load_beside(path: Path, *, large_bytes: int = _LARGE_BYTES, python: str = sys.executable) -> Folder:
    """As `load_folder`, which it is for a small folder, and where no other process can be had. Blocking.

    Raises:
        ConfigErrors: with every mistake in every file.
    """
    if _bytes_of_keys(path) < large_bytes:
        return load_folder(path)
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            [python, "-P", "-m", __name__, str(path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
            timeout=_PATIENCE_S, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("no process of its own reads the folder; this one reads it", why=type(error).__name__)
        return load_folder(path)
    found: Folder | tuple[ConfigError, ...] = pickle.loads(done.stdout)  # noqa: S301 - of our own process
    if isinstance(found, Folder):
        return found
    raise ConfigErrors(path, found)


def _bytes_of_keys(path: Path) -> int:
    try:
        return (path / "keys.yaml").stat().st_size
    except OSError:
        return 0


def _step_back() -> None:
    """Calls come first, also where the one that began this may have the processor before all others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person who ends the other one has not ended the reading
    with contextlib.suppress(OSError, AttributeError):  # not every system has it, or allows it
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.nice(_NICE)


def main(path: Path) -> None:
    _step_back()
    try:
        found: Folder | tuple[ConfigError, ...] = load_folder(path)
    except ConfigErrors as errors:
        found = errors.errors
    sys.stdout.buffer.write(pickle.dumps(found, pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
