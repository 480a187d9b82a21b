"""An event loop whose clock jumps to the next thing to do: hours of waiting in no time, and always the same."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Stuck(RuntimeError):
    """Everything waits, and nothing will ever happen."""


class _NoWaiting(selectors.SelectSelector):
    """Instead of waiting for a socket or a timeout it moves the clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("everything waits, and nothing will ever happen")
        self.loop.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """For programs without sockets and threads. `asyncio.sleep`, `asyncio.timeout` and `call_later` are virtual."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _NoWaiting()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s

    # Nobody wakes it from another thread: two sockets less for each history.

    def _make_self_pipe(self) -> None: ...

    def _close_self_pipe(self) -> None: ...

    def _write_to_self(self) -> None: ...
