"""How many functions are called for 1,000 events, stage by stage: the same on every machine, whatever else it does.

    python -m benchmarks.call_budgets

Prints what is counted now. A test holds it to `benchmarks/call_budgets.toml`, so that what creeps back into the hot
path, a call for each event first of all, is seen before it is measured in seconds. What runs inside of Arrow and NumPy
is not counted: the benchmarks say what that costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import orjson
import pyarrow as pa
from pydantic import SecretStr

from benchmarks.workload import Workload, events
from detectors.core import ScoreCore
from schemas.config.detectors import DetectorsConfig
from schemas.fingerprint import Fingerprinter
from schemas.frame import decode_frame, encode_frame
from sources.alignment import Alignment
from sources.batch import BatchParser, RawRecord
from sources.pricing import PriceBook
from sources.routing import split_by_partition

BUDGETS: Final = Path(__file__).with_suffix(".toml")
TOLERANCE: Final = 0.03
_EVENTS: Final = 8192
_KEYS: Final = 500
_PARTITIONS: Final = 4


@dataclass(frozen=True)
class Budget:
    """Calls for 1,000 events, and why it is so many now."""

    calls: float
    reason: str


def budgets() -> dict[str, Budget]:
    """As they are written down."""
    return {stage: Budget(**budget) for stage, budget in tomllib.loads(BUDGETS.read_text(encoding="utf-8")).items()}


def problem(stage: str, calls: float, budget: Budget) -> str:
    """Empty when the count is within its budget's tolerance.

    >>> problem("parse", 102, Budget(100, "first count")), problem("parse", 104, Budget(100, "first count"))
    ('', 'parse: 104 calls for 1,000 events where 100 are allowed (first count)')
    >>> problem("parse", 50, Budget(100, "first count"))
    'parse: 50 calls for 1,000 events, budget 100: lower it, so that the gain is kept'
    """
    if calls > budget.calls * (1 + TOLERANCE):
        return f"{stage}: {calls:g} calls for 1,000 events where {budget.calls:g} are allowed ({budget.reason})"
    if calls < budget.calls * (1 - TOLERANCE):
        return f"{stage}: {calls:g} calls for 1,000 events, budget {budget.calls:g}: lower it, so that the gain is kept"
    return ""


def measured() -> dict[str, float]:
    """Calls for 1,000 events of each stage, once libraries have made what they make at the first call."""
    _once()
    return _once()


def _once() -> dict[str, float]:
    """On records that no stage has seen, after a batch like them."""
    first, second = _records(0), _records(1)
    parser = BatchParser(fingerprinter=Fingerprinter(SecretStr("budget")), prices=PriceBook(), max_future_s=None)
    counted = {}

    def parse(records: list[RawRecord]) -> pa.RecordBatch:
        return parser.parse(records, topic="usage.raw", now_ms=0).frame

    for name, written in {
        "parse": _as_it_comes,
        "parse_ndjson": _as_lines,
        "parse_arrays": _in_arrays,
        "parse_one_bad_record": _with_a_bad_one,
    }.items():
        parse(written(first))
        counted[name], _ = _calls(parse, written(second))
    frames = [parse(first), parse(second)]
    counted["align_and_route"], parts = _calls(_routed, frames[1])
    counted["encode"], encoded = _calls(lambda: [encode_frame(part) for part in parts])
    counted["decode"], _ = _calls(lambda: [decode_frame(data) for data in encoded])
    core = ScoreCore(DetectorsConfig(), partition=0)
    core.process(frames[0])
    counted["score"], _ = _calls(core.process, frames[1])
    return {stage: round(calls * 1000 / _EVENTS, 1) for stage, calls in counted.items()}


def _records(number: int) -> list[RawRecord]:
    """Of the same keys each time, later each time."""
    workload = Workload(_EVENTS * 2, keys=_KEYS, events_per_s=2000)
    values = [value for _, value in events(workload)][number * _EVENTS :][:_EVENTS]
    return [RawRecord(0, number * _EVENTS + at, value, None) for at, value in enumerate(values)]


def _as_it_comes(records: list[RawRecord]) -> list[RawRecord]:
    return records


def _as_lines(records: list[RawRecord]) -> list[RawRecord]:
    """Sixteen events in each record, one in each line."""
    return [part[0]._replace(value=b"\n".join(raw.value for raw in part)) for part in _sixteens(records)]


def _in_arrays(records: list[RawRecord]) -> list[RawRecord]:
    """Sixteen events in each record, as JSON arrays: these are decoded one by one."""
    return [part[0]._replace(value=b"[" + b",".join(raw.value for raw in part) + b"]") for part in _sixteens(records)]


def _sixteens(records: list[RawRecord]) -> list[list[RawRecord]]:
    return [records[start : start + 16] for start in range(0, len(records), 16)]


def _with_a_bad_one(records: list[RawRecord]) -> list[RawRecord]:
    """One producer's bug must not cost the others much."""
    middle = len(records) // 2
    doc: dict[str, Any] = orjson.loads(records[middle].value)
    bad = records[middle]._replace(value=orjson.dumps(doc | {"status": "200"}))
    return [*records[:middle], bad, *records[middle + 1 :]]


def _routed(frame: pa.RecordBatch) -> list[pa.RecordBatch]:
    aligned = Alignment().add(frame, behind=())
    return list(split_by_partition(aligned.among, _PARTITIONS, aligned.order).values())


def _calls(function: Callable[..., Any], *given: object) -> tuple[int, Any]:
    with _counting() as count:
        result = function(*given)
    return count[0], result


@contextmanager
def _counting() -> Iterator[list[int]]:
    """Calls of this thread, of Python and of C functions alike."""
    count = [0]

    def saw(_frame: FrameType, what: str, _argument: object) -> None:
        if what in {"call", "c_call"}:
            count[0] += 1

    before = sys.getprofile()
    sys.setprofile(saw)
    try:
        yield count
    finally:
        sys.setprofile(before)


def in_own_process() -> dict[str, float]:
    """`measured` in a fresh process: what ran before has filled caches that are counted around."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.call_budgets"], check=True, stdout=subprocess.PIPE, text=True, timeout=300
    )
    counted: dict[str, float] = json.loads(done.stdout)
    return counted


def main() -> None:
    print(json.dumps(measured(), indent=2))


if __name__ == "__main__":
    main()
