"""A ClickHouse server for tests: its HTTP interface, in a process of its own that can be killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from service.tansu import end, free_port, spawn_tied

ROOT: Final = Path(__file__).parents[2]
_START_S: Final = 120.0
_STOP_S: Final = 10.0


class ClickHouseProcess:
    """`start` it, stop it in some way, and start it again: the same address, and what it holds."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.log_path = directory / "clickhouse.log"
        self._command = [
            sys.executable,
            "-m",
            "tests.storage.clickhouse_http",
            str(directory / "engine"),
            str(self.port),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when it answers."""
        self._process = spawn_tied(["/usr/bin/env", f"PYTHONPATH={ROOT}", *self._command], log_path=self.log_path)
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                assert self._process.poll() is None, self.log_path.read_text()[-3000:]
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        """Blocking."""
        if self._process is not None:
            end(self._process, grace_s=_STOP_S)

    def signal(self, sign: signal.Signals) -> None:
        """To it and to what ties it to us: SIGKILL ends it at once, SIGSTOP lets it hang until SIGCONT."""
        assert self._process is not None
        os.killpg(self._process.pid, sign)

    async def lose_answers(self, count: int) -> None:
        """The next inserts are carried out, and the connection breaks before anybody is told."""
        async with httpx.AsyncClient(trust_env=False) as http:
            (await http.put(f"http://{self.address}/lose-answers/{count}")).raise_for_status()

    async def _answers(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"http://{self.address}/ping")).text == "Ok.\n"
        except httpx.HTTPError:
            return False


@contextmanager
def running_clickhouse(directory: Path) -> Iterator[ClickHouseProcess]:
    """One for as long as the context lasts."""
    server = ClickHouseProcess(directory)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.stop()
