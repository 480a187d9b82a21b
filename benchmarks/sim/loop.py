"""The event loop of a history: its clock jumps, and what the code hands to a thread is done by the loop itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from benchmarks.containment_faults.virtual import VirtualLoop


class HistoryLoop(VirtualLoop):
    """`asyncio.to_thread` takes `thread_s()`; what was begun ends, also when who began it is dead by then."""

    thread_s: Callable[[], float] = staticmethod(lambda: 0.0)

    def __init__(self) -> None:
        super().__init__()
        self.mistakes: list[str] = []  # of the history itself
        self.set_exception_handler(lambda _loop, context: self._noted(context))

    def _noted(self, context: dict[str, Any]) -> None:
        if "handle" in context:  # what the dead leave unretrieved is no news
            self.mistakes.append(f"{context['message']}: {context.get('exception')!r}")

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # handed on to who waits for it, as a thread does
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self.thread_s(), work)
        return future
