"""Closing what a worker has opened: in time, and whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from service.renewed import Loop

Closer = Callable[[], Awaitable[Any]]
_CLOSE_S: Final = 10.0
_LOOP_END_S: Final = 5.0
log = structlog.get_logger()


async def close_in_time(closer: Closer) -> None:
    """What does not close, or not in time, ends with the process; the others are closed all the same."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await closer()
    except TimeoutError:
        log.warning("something did not close in time", seconds=_CLOSE_S)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.warning("something did not close", why="what it waited for was cancelled")
    except Exception as error:  # of whatever library: without its broker, a producer's for one
        log.warning("something did not close", why=f"{type(error).__name__}: {error}")


async def end_loop(name: str, loop: Loop, task: asyncio.Task[None]) -> None:
    """`task` runs the loop: it may finish what it has in hand."""
    loop.stop()
    done, _ = await asyncio.wait([task], timeout=_LOOP_END_S)
    if not done:
        log.warning("stage did not end in time; what it had not acknowledged comes again", stage=name)
        task.cancel()
    await loop.close()
