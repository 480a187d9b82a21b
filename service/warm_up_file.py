"""What a warm-up has learned, kept in a file: the embedded broker forgets everything when it stops."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from service.install import Install
from service.warm_up import State, is_readable
from streams.kafka import create_topics
from streams.topics import StateTopic
from streams.warm_state import changelog_of, holds_state, write_state

NAME: Final = "warm-up.zip"
log = structlog.get_logger()


def path_of(install: Install) -> Path:
    return install.data_dir / NAME


def save(path: Path, states: Iterable[State]) -> None:
    """Whole or not at all; the order is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w") as file:
        for state in states:
            file.writestr(zipfile.ZipInfo(f"{state.partition}/{state.name}"), state.value)
    unfinished.replace(path)


def load(path: Path) -> list[State]:
    """The states of `save`; none when there is no such file or it is broken."""
    try:
        with zipfile.ZipFile(path) as file:
            return [_state(name, file.read(name)) for name in file.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile):
        return []


def _state(name: str, value: bytes) -> State:
    partition, _, rest = name.partition("/")
    return State(int(partition), rest, value)


async def begin_warm(install: Install, bootstrap: str) -> None:
    """Give a broker without state what was learned, before any worker reads; tells when it does not fit."""
    states = load(path_of(install))
    if not path_of(install).exists():
        return
    if not is_readable(install.folder, states):
        log.warning(
            "what the warm-up learned does not fit this version or keyfuse.yaml; run `keyfuse warm-up --replace`",
            file=str(path_of(install)),
        )
        return
    await create_topics(bootstrap, install.topics.specs())
    async with changelog_of(bootstrap, install.topics.state_name(StateTopic.SCORE)) as changelog:
        if not await holds_state(changelog, install.topics.partitions):
            written = await write_state(changelog, states)
            log.info("began with what the warm-up learned", file=str(path_of(install)), bytes=written)
