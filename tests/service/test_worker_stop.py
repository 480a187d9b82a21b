"""A worker ends in the order of the flow: what stages call is closed when no stage calls it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from service import worker as worker_module
from service.config_tree import Folder
from service.install import Install
from service.worker import Worker

Closer = Callable[[], Awaitable[None]]


class Stopping:
    """A worker of nothing, whose parts say when they are closed."""

    def __init__(self, directory: Path) -> None:
        self.closed: list[str] = []
        self.worker = Worker(Install(Folder(), directory, {}), "nobody:1", ["contain"])
        app: Any = self
        self.worker._apps = [app]
        self.worker._closers = [self.closer("sender"), self.closer("notify")]
        self.worker._last = [self.closer("contain"), self.closer("provider")]

    def closer(self, name: str) -> Closer:
        async def close() -> None:
            self.closed.append(name)

        return close

    async def stop(self) -> None:
        """As an app."""
        self.closed.append("apps")


async def test_providers_are_closed_behind_the_stages_and_before_what_they_are_told_with(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    await stopping.worker.stop()
    assert stopping.closed == ["notify", "apps", "contain", "provider", "sender"]


async def test_what_never_closes_keeps_nothing_from_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_CLOSE_S", 0.01)
    stopping = Stopping(tmp_path)

    async def hang() -> None:
        await asyncio.Event().wait()

    stopping.worker._closers.append(hang)
    async with asyncio.timeout(10):
        await stopping.worker.stop()
    assert stopping.closed[-1] == "sender"


async def test_what_fails_to_close_keeps_the_others_from_nothing(tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)

    async def fail() -> None:
        raise KafkaConnectionError("no broker")

    stopping.worker._closers.append(fail)
    await stopping.worker.stop()
    assert stopping.closed == ["notify", "apps", "contain", "provider", "sender"]
