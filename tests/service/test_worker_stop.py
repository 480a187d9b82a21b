"""A worker ends in the order of the flow: what stages call is closed when no stage calls it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from service import closing
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
    monkeypatch.setattr(closing, "_CLOSE_S", 0.01)
    stopping = Stopping(tmp_path)

    async def hang() -> None:
        await asyncio.Event().wait()

    stopping.worker._closers.append(hang)
    async with asyncio.timeout(10):
        await stopping.worker.stop()
    assert stopping.closed[-1] == "sender"


async def _failing() -> None:
    raise KafkaConnectionError("no broker")


async def _waiting_for_what_was_cancelled() -> None:
    waited_for = asyncio.ensure_future(asyncio.sleep(3600))
    waited_for.cancel()
    await waited_for


@pytest.mark.parametrize("fails", [_failing, _waiting_for_what_was_cancelled])
async def test_what_fails_to_close_keeps_the_others_from_nothing(fails: Closer, tmp_path: Path) -> None:
    stopping = Stopping(tmp_path)
    stopping.worker._closers.append(fails)
    await stopping.worker.stop()
    assert stopping.closed == ["notify", "apps", "contain", "provider", "sender"]


async def test_whoever_cancels_the_end_itself_is_heard(tmp_path: Path) -> None:
    stopping, begun = Stopping(tmp_path), asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    stopping.worker._closers.append(hang)
    ending = asyncio.create_task(stopping.worker.stop())
    await begun.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
