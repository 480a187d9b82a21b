"""The loops of one worker: each is kept running, until the worker stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from service.keep_running import keep_running
from streams.health import Health
from streams.metrics import Metrics


class Loops:
    """How each fares is shown in the health, under its name."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health, self._metrics = health, metrics
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def run(self, name: str, loop: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        kept = keep_running(
            name, loop, progress=self._health.stage(name, time.monotonic()), metrics=self._metrics,
            now_s=time.monotonic, sleep=asyncio.sleep,
        )  # fmt: skip
        task = asyncio.create_task(kept, name=name)
        self._tasks.append(task)
        return task

    def stopping(self) -> bool:
        """For loops that end by themselves when they are asked to."""
        return self._stopping

    def stop(self) -> None:
        self._stopping = True

    async def cancel(self) -> None:
        """Those that still run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
