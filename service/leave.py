"""The end of a process that must end: whatever its libraries have left behind."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from service.errors import EXIT_USER_ERROR, for_people

LEAVE_S: Final = 10.0
log = structlog.get_logger()


def run_and_leave(work: Coroutine[Any, Any, int], *, within_s: float = LEAVE_S) -> int:
    """Like `asyncio.run`; `work` gives the exit code. Once it is done the process ends, at the latest after `within_s`.

    Without its broker a task of aiokafka or Faust may answer no cancel, and a thread of theirs no end: `asyncio.run`,
    or Python at its exit, would wait for them for ever.
    """
    before, left = set(threading.enumerate()), threading.Event()
    try:
        return asyncio.run(_watched(work, left, within_s))
    finally:
        if not any(not thread.daemon for thread in set(threading.enumerate()) - before):
            left.set()


async def _watched(work: Coroutine[Any, Any, int], left: threading.Event, within_s: float) -> int:
    code, words = 1, "it was cancelled"
    try:
        code, words = await work, "asked to"
    except Exception as error:
        told = for_people(error)
        code, words = (EXIT_USER_ERROR, told) if told else (1, "".join(traceback.format_exception(error)))
        raise
    finally:
        threading.Thread(target=_end_anyway, args=(left, within_s, code, words), daemon=True).start()
    return code


def _end_anyway(left: threading.Event, within_s: float, code: int, words: str) -> None:
    """All is written that will be: what is ended here has nothing more to do."""
    if left.wait(within_s):
        return
    log.warning("ended by force: a library's task or thread did not end", code=code, why=words)
    os._exit(code)
