"""The loops of a worker: one that fails starts again, and does not take the others with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from streams.errors import PoisonedInput
from streams.health import StageProgress
from streams.metrics import Metrics

_FAILURES: Final = 5
_SOUND_S: Final = 60.0  # one that ran for so long has got over what failed before
_LONGEST_PAUSE_S: Final = 16.0
log = structlog.get_logger()


async def keep_running(
    name: str, loop: Callable[[], Awaitable[None]], *, progress: StageProgress, metrics: Metrics,
    now_s: Callable[[], float], sleep: Callable[[float], Awaitable[None]],
) -> None:  # fmt: skip
    """Returns when the loop does, or has stopped for good: `/healthz` then says why.

    It stops after a few failures in a row, and at once when its input is poisoned. What the broker does to it is not
    counted: an outage ends by itself, however long it lasts.
    """
    tries = failures = 0
    while failures < _FAILURES:
        began_s = now_s()
        try:
            await loop()
        except PoisonedInput as error:
            progress.failed = str(error)
            log.error("stage stopped", stage=name, why=str(error))  # noqa: TRY400 - the sentence says it all
            return
        except Exception as error:  # the boundary that keeps one stage's failure from the others
            if now_s() - began_s > _SOUND_S:
                tries = failures = 0
            log.exception("stage failed", stage=name, restart=tries)
            metrics.inc("keyfuse_retries_total", where=name)
            progress.failed = f"{type(error).__name__}: {error}"
            await sleep(min(2.0**tries, _LONGEST_PAUSE_S))
            tries, failures = tries + 1, failures + (not isinstance(error, KafkaError))
            progress.failed = ""
        else:
            return
    progress.failed = f"failed {_FAILURES} times; see the log"
