"""The event loop of a history: its clock jumps, and what the code hands to a thread is done by the loop itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.containment_faults.virtual import VirtualLoop


class HistoryLoop(VirtualLoop):
    """`asyncio.to_thread` takes `thread_s()`; what was begun ends, also when who began it is dead by then."""

    thread_s: Callable[[], float] = staticmethod(lambda: 0.0)

    def __init__(self) -> None:
        super().__init__()
        self.mistakes: list[str] = []  # of the history itself
        self._held: tuple[float, Callable[[], None]] | None = None
        self.set_exception_handler(lambda _loop, context: self._noted(context))

    def _noted(self, context: dict[str, Any]) -> None:
        if "handle" in context:  # what the dead leave unretrieved is no news
            self.mistakes.append(f"{context['message']}: {context.get('exception')!r}")

    def hold_answer(self, seconds: float, effect: Callable[[], None]) -> None:
        """Called in a thread's work: its answer comes when the effect has been, and is what the effect raises."""
        self._held = seconds, effect

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        future = self.create_future()

        def work(func: Callable[[], Any]) -> None:
            try:
                result = func()
            except Exception as error:  # handed on to who waits for it, as a thread does
                if not future.done():
                    future.set_exception(error)
                return
            held, self._held = self._held, None
            if held is not None:
                seconds, effect = held
                self.call_later(seconds, work, partial(_answer, effect, result))
            elif not future.done():
                future.set_result(result)

        self.call_later(self.thread_s(), work, lambda: func(*args))
        return future


def _answer(effect: Callable[[], None], result: object) -> object:
    effect()
    return result
