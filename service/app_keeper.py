"""Keeps one stage's Faust app running: a broken app is replaced by a new one, which starts at the last commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog
from aiokafka import TopicPartition

from streams.faust_apps import StageApp, new_app
from streams.faust_engine import Engine
from streams.health import StageProgress
from streams.kafka import Timing

_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0)
_STOP_S: Final = 5.0  # without its broker an app needs half a minute to stop; the next one does not wait for that
log = structlog.get_logger()


class AppKeeper:
    """Start it, stop it; restarts in between are its own business and are shown in the stage's health."""

    def __init__(
        self,
        stage: StageApp,
        bootstrap: str,
        *,
        timing: Timing,
        progress: StageProgress,
        now_s: Callable[[], float],
    ) -> None:
        self._stage = stage
        self._bootstrap = bootstrap
        self._timing = timing
        self._progress = progress
        self._now_s = now_s
        self._app: Engine | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._restarts = 0
        self._why = ""  # it has to be started again, empty while it runs
        self._stopping = False
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._app = new_app(self._stage, self._bootstrap, timing=self._timing, broke=self._broke)
        await self._app.start()

    async def stop(self) -> None:
        self._stopping = True
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        await self._leave()
        if self._leaving:  # apps that lost their broker: they end by themselves or with the process
            await asyncio.wait(self._leaving, timeout=_STOP_S)

    def restart(self, why: str) -> None:
        """It lives and does nothing: a new app."""
        self._broke(why)

    def assigned(self) -> Collection[TopicPartition]:
        """What its group has given it, as far as it knows; nothing while it restarts."""
        consumer = None if self._app is None else self._app.guarded_consumer
        return [] if consumer is None else [TopicPartition(*tp) for tp in consumer.assignment()]

    def _broke(self, why: str) -> None:
        self._why = why  # also while a restart is under way: the new app may break before its start returns
        if not self._stopping and (self._restarting is None or self._restarting.done()):
            self._restarting = asyncio.create_task(self._restart(), name=f"restart {self._stage.name}")

    async def _restart(self) -> None:
        """Bounded pauses, not bounded tries: a stage that stays down is told by its health, and a person comes."""
        while self._why:
            self._progress.failed = self._why
            pause_s = _PAUSES_S[min(self._restarts, len(_PAUSES_S) - 1)]
            self._restarts += 1
            log.warning("stage restarts", stage=self._stage.name, why=self._why, pause_s=pause_s)
            try:
                await asyncio.wait([self._leave()], timeout=_STOP_S)
                await asyncio.sleep(pause_s)
                self._stage.forget()
                self._why = ""
                await self.start()
            except Exception as error:
                # While the broker is away a start fails in many ways, all of them worth another try.
                self._why = f"{type(error).__name__}: {error}"
        self._progress.failed = ""

    def _leave(self) -> asyncio.Task[None]:
        """Stop the app there is. It no longer touches the stage, so that the next may start meanwhile."""
        task = asyncio.create_task(self._stop_app(), name=f"stop {self._stage.name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _stop_app(self) -> None:
        app, self._app = self._app, None
        if app is not None:
            app.abandoned = True
            await app.stop()
