"""A uvicorn server on a loopback port inside our own event loop; signals stay ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

KEEP_ALIVE_S: Final = 75
"""An idle connection is closed after this: later than senders give theirs up (httpx 5 s, aiohttp 15 s, proxies 60 s),
for one that is closed just when a request is on its way is an error at the sender.
"""


class LocalServer(uvicorn.Server):
    """`start` returns its URL once it listens; `stop` once it has answered what it had accepted."""

    def __init__(self, app: Callable[..., Any], *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
        ))  # fmt: skip
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own handlers would end the process before the stages have."""
        yield

    async def start(self) -> str:
        """OSError when the address cannot be had."""
        self._task = asyncio.create_task(self._serve_or_fail(), name=f"http {self.config.port}")
        while not self.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.02)
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://{self.config.host}:{port}"

    async def stop(self) -> None:
        self.should_exit = True
        if self._task is not None:
            await self._task

    async def _serve_or_fail(self) -> None:
        try:
            await self.serve()
        except SystemExit as exit_:  # uvicorn's answer to an address in use
            raise OSError(f"cannot listen on {self.config.host}:{self.config.port}") from exit_
