"""Processor time by stage of a worker: functions that do not wait, each without what it calls of the others."""

from __future__ import annotations

import importlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

STAGES: Final = {
    "fetch: records out of what the broker sent": ("aiokafka.consumer.fetcher:FetchResult.getall",),
    "read: JSON to raw columns, in a thread beside the loop": ("sources.batch:BatchParser.read",),
    "texts: checked, cleaned of secrets, keys fingerprinted": ("sources.texts:TextColumns.columns",),
    "prices": ("sources.columns:ColumnBuilder._costs",),
    "numbers, times, hashes, networks": ("sources.columns:ColumnBuilder.build",),
    "align: partitions in the order of time": ("sources.alignment:Alignment.add",),
    "route: rows to the partitions of their keys": ("streams.ingest:split_by_partition",),
    "encode: Arrow frames with lz4": ("streams.ingest:encode_frame",),
    "decode": ("streams.score:decode_frame",),
    "score: fold, windows, all families": (
        "detectors.core:ScoreCore.process",
        "detectors.core:ScoreCore.advance",
    ),
    "checkpoint: shards of state, by the clock and not by events": (
        "detectors.core:ScoreCore.export_shard",
        "detectors.core:ScoreCore.export_cohorts",
    ),
}


class StageClock:
    """Counts from `install` on, where the functions are looked up when they are called."""

    def __init__(self) -> None:
        self.ns: Counter[str] = Counter()
        self._inner = threading.local()

    def install(self) -> None:
        for stage, places in STAGES.items():
            for place in places:
                module_name, _, path = place.partition(":")
                owner: Any = importlib.import_module(module_name)
                *outer, name = path.split(".")
                for part in outer:
                    owner = getattr(owner, part)
                setattr(owner, name, self._timed(stage, getattr(owner, name)))

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function
            before, self._inner.ns = getattr(self._inner, "ns", 0), 0
            started = time.thread_time_ns()
            try:
                return function(*args, **kwargs)
            finally:
                used = time.thread_time_ns() - started
                self.ns[stage] += used - self._inner.ns
                self._inner.ns = before + used

        return timed
