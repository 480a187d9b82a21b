"""What a burst is measured with: a worker process, a hold on it, and a look from outside at its memory and its rows."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from benchmarks.broker import PARTITIONS
from benchmarks.machine import first_in_line
from benchmarks.soak import rss_bytes
from service.tansu import free_port
from storage.client import open_store
from storage.store import Store
from tests.integration.world import until
from tests.storage.clickhouse_process import ClickHouseProcess

TOKEN: Final = "token-of-the-benchmark"
_START_S: Final = 120.0
_END_S: Final = 60.0


@dataclass(frozen=True)
class Place:
    """One install: its folder, its broker, its store."""

    folder: Path
    bootstrap: str
    prefix: str
    dsn: str
    intake: str  # URL
    room_bytes: int

    def write(self) -> None:
        """Defaults but for the addresses, and the room of the intake."""
        wiring = {
            "data_dir": str(self.folder / "data"), "pepper_file": str(self.folder / "pepper"),
            "kafka": {"bootstrap": self.bootstrap, "topic_prefix": self.prefix, "partitions": PARTITIONS},
            "store": {"dsn": self.dsn},
            "intake": {"port": int(self.intake.rpartition(":")[2]), "max_in_flight_bytes": self.room_bytes},
        }  # fmt: skip
        (self.folder / "keyfuse.yaml").write_text(yaml.safe_dump(wiring))
        (self.folder / "pepper").write_text("benchmark pepper, not secret")
        (self.folder / "pepper").chmod(0o600)

    def begun_anew(self, roles: str) -> int:
        """So often the watchdog of that worker found a stage standing still."""
        return (self.folder / f"{roles}.log").read_text().count('"stage stuck"')

    @asynccontextmanager
    async def worker(self, roles: str) -> AsyncIterator[int]:
        """`keyfuse worker`, as installed, once it is up; gives its process id. AssertionError if it ended by itself."""
        log, keyfuse = self.folder / f"{roles}.log", Path(sys.executable).parent / "keyfuse"
        process = await asyncio.create_subprocess_exec(
            str(keyfuse), "worker", "--role", roles, "--config", str(self.folder),
            env=os.environ | {"KEYFUSE_INTAKE_TOKEN": TOKEN}, stdout=asyncio.subprocess.DEVNULL, stderr=log.open("wb"),
        )  # fmt: skip
        try:
            await until(
                lambda: b"keyfuse is up" in log.read_bytes() or process.returncode is not None,
                lambda: log.read_text()[-3000:], patience_s=_START_S,
            )  # fmt: skip
            _lives(process, log)
            yield process.pid
            _lives(process, log)
        finally:
            await _end(process)


def _lives(process: asyncio.subprocess.Process, log: Path) -> None:
    assert process.returncode is None, f"a worker ended with {process.returncode}: {log.read_text()[-3000:]}"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def place(bootstrap: str, prefix: str, folder: Path, *, room_bytes: int) -> AsyncIterator[Place]:
    """An install with a store behind ClickHouse's HTTP interface, in a process of its own."""
    server = ClickHouseProcess(folder)
    try:
        await server.start()
        dsn = f"clickhouse://keyfuse@{server.address}/burst"
        made = Place(folder, bootstrap, prefix, dsn, f"http://127.0.0.1:{free_port()}", room_bytes)
        made.write()
        yield made
    finally:
        server.stop()


class Archive:
    """The rows of usage, by what their event ids begin with."""

    def __init__(self, dsn: str) -> None:
        self._store: Store = open_store(dsn)

    async def rows(self, begins: str = "") -> int:
        return (await self._ask("count()", begins))[0][0]

    async def distinct(self, begins: str = "") -> int:
        return (await self._ask("uniqExact(event_id)", begins))[0][0]

    async def by_request(self, begins: str, length: int) -> dict[str, int]:
        """Rows by the first `length` characters of their event id."""
        return {str(name): rows for rows, name in await self._ask(f"count(), left(event_id, {length}) AS r", begins)}

    async def _ask(self, what: str, begins: str) -> Sequence[Sequence[int]]:
        """By `r`, where that is asked for."""
        grouped = " GROUP BY r" if " AS r" in what else ""
        sql = f"SELECT {what} FROM usage_events WHERE startsWith(event_id, {{begins:String}}){grouped}"
        return await asyncio.to_thread(self._store.connection.rows, sql, {"begins": begins})

    def close(self) -> None:
        self._store.close()


@contextmanager
def held(pid: int, share: float) -> Iterator[None]:
    """Meanwhile the process may run for that share of each 100 ms, and is stopped (SIGSTOP) for the rest.

    In its share it goes before everything else on the machine, where that is allowed: else a busy machine would hold it
    to less.
    """
    _go_first(_threads(pid), first=True)
    given = ["--pid", str(pid), "--share", str(share)]
    with first_in_line():
        holding = subprocess.Popen([sys.executable, "-m", "benchmarks.burst_hold", *given], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        holding.communicate()
        _go_first(_threads(pid), first=False)


def _threads(pid: int) -> list[int]:
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]


def _go_first(threads: Iterable[int], *, first: bool) -> None:
    """Those threads, and what they start from now on. Where it is not allowed, nothing changes."""
    policy, rank = (os.SCHED_RR, 1) if first else (os.SCHED_OTHER, 0)
    with suppress(PermissionError, ProcessLookupError):
        for thread in threads:
            os.sched_setscheduler(thread, policy, os.sched_param(rank))


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Memory:
    """Resident memory of a process, every half second for as long as `watching` lasts."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = rss_bytes(pid)
        self.samples: list[int] = [self.before]

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            self.samples.append(rss_bytes(self._pid))

    async def _look(self) -> None:
        while True:
            self.samples.append(rss_bytes(self._pid))
            await asyncio.sleep(0.5)

    def figures(self) -> dict[str, float]:
        """MB: before, at most, at the end, and how much the most lies above what was before."""
        most = max(self.samples)
        return {
            "rss_before_mb": round(self.before / 1e6, 1), "rss_most_mb": round(most / 1e6, 1),
            "rss_after_mb": round(self.samples[-1] / 1e6, 1), "rss_growth_mb": round((most - self.before) / 1e6, 1),
        }  # fmt: skip
