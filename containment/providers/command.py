"""A program of yours, run once for each message; what it is told and answers: `declared.py`.

The message is on its standard input, the answer on its standard output. Its arguments are those of `command` and
nothing else, there is no shell, and its environment is clean: `PATH`, `LANG`, and the secret, where there is one, as
`KEYFUSE_SECRET`. It must end within the time of one call; then it is killed with everything it started.

It ends with 0 and an answer, or with another code and `{"error": ...}`: `unknown_key`, `bad_credentials`, `forbidden`,
`rejected` and `final` are not tried again; `unavailable`, `rate_limited` (with `retry_after_s`), and whatever says
nothing that we understand, are.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from containment.providers.base import StepSpec
from containment.providers.declared import DeclaredProvider, steps_declared, steps_declared_of
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from containment.providers.redact import redact
from schemas.config.wiring import ProviderConfig
from schemas.records import Step

MAX_BYTES: Final = 65_536
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_FINAL: Final = frozenset({Reason.UNKNOWN_KEY, Reason.BAD_CREDENTIALS, Reason.FORBIDDEN, Reason.REJECTED, Reason.FINAL})
_PASSING: Final = frozenset({Reason.UNAVAILABLE, Reason.RATE_LIMITED})

steps_for = steps_declared
steps_of = steps_declared_of


def from_config(name: str, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> CommandProvider:
    """The provider of `providers.<name>`. ValueError when the program or its steps are missing."""
    return CommandProvider(name, secret, steps_declared(config), argv=config.command, timeout_s=timeout_s)


class CommandProvider(DeclaredProvider):
    """One program.

    Args:
        name: As events call the provider.
        secret: For the program; may be empty.
        steps: What it can do.
        argv: Its full path and its arguments.
        timeout_s: For one call.
    """

    def __init__(
        self,
        name: str,
        secret: SecretStr,
        steps: Mapping[Step, StepSpec],
        *,
        argv: tuple[str, ...],
        timeout_s: float = 10,
    ) -> None:
        super().__init__(name, steps, secret)
        if not argv or not argv[0].startswith("/"):
            raise ValueError("command is missing, or does not begin with the program's full path")
        if secret.get_secret_value() and any(secret.get_secret_value() in each for each in argv):
            raise ValueError("command holds the secret, which every user of this machine can read there")
        self._argv = argv
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Nothing is kept between two messages."""

    async def _ask(self, message: bytes, doing: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._timeout_s):
                code, out, err = await self._run(message)
        except TimeoutError:
            raise Retryable(Reason.TIMEOUT, f"{doing}: the program did not end in time and was killed") from None
        except OSError as error:
            words = f"{doing}: {self._argv[0]} cannot be started ({type(error).__name__})"
            raise Refused(Reason.REJECTED, words) from None
        answer = _object(out)
        if code != 0:
            raise self._failure(doing, code, answer or {}, err)
        if answer is None:
            raise Retryable(Reason.NONSENSE, f"{doing}: what the program wrote is not a JSON object")
        return answer

    async def _run(self, message: bytes) -> tuple[int, bytes, bytes]:
        secret = self._secret.get_secret_value()
        process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**ENVIRONMENT, **({"KEYFUSE_SECRET": secret} if secret else {})}, cwd="/", start_new_session=True,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - pipes were asked for
        try:
            _, out, err = await asyncio.gather(
                _feed(process.stdin, message), _first(process.stdout), _first(process.stderr)
            )
            return await process.wait(), out, err
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the program and what it started
            await process.wait()
            raise

    def _failure(self, doing: str, code: int, answer: Mapping[str, Any], err: bytes) -> ProviderError:
        words, wait_s = answer.get("words"), answer.get("retry_after_s")
        said = redact(words if isinstance(words, str) else err.decode(errors="replace"), self._secret)
        how = f"{doing}: the program ended with {code}" + (f": {said}" if said else "")
        reason = next((each for each in _FINAL | _PASSING if each == answer.get("error")), Reason.UNAVAILABLE)
        if reason in _FINAL:
            return Refused(reason, how)
        usable = isinstance(wait_s, int | float) and not isinstance(wait_s, bool) and 0 <= wait_s < float("inf")
        return Retryable(reason, how, retry_after_s=float(wait_s) if usable and wait_s is not None else None)


async def _feed(stdin: asyncio.StreamWriter, message: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # one that does not read may still answer
        stdin.write(message)
        await stdin.drain()
    stdin.close()


async def _first(stream: asyncio.StreamReader) -> bytes:
    """The first bytes; the rest is read away, or a program that says too much would wait for us for ever."""
    kept = b""
    while chunk := await stream.read(MAX_BYTES):
        kept = (kept + chunk)[: MAX_BYTES + 1]
    return kept


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if len(text) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
