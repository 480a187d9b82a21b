"""What pure parts of the pipeline answered before, in another life or another history: they answer the same again.

A hundred histories share their traffic, so most of what their workers parse and fold was parsed and folded already.
Core and parser are pure: what they say hangs on what they were given and on nothing else. So each answer is kept under
all that was given before it, to the byte, and the real thing works it out when it is asked for the first time. With the
next traffic all is forgotten. `tests/benchmarks/test_sim.py` holds histories with and without a memory to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import pyarrow as pa

from detectors.core import ScoreCore
from detectors.placement import Placement
from schemas.records import Finding
from sources.batch import BatchParser, ParsedBatch
from sources.raw_records import RawRecords

Call = tuple[Hashable, ...]
G = TypeVar("G", bound=Hashable)
A = TypeVar("A")


class After:
    """How a core is after a call, and what it answered."""

    def __init__(self, core: ScoreCore, answer: object) -> None:
        self.answer: Any = answer
        self.clock_s, self.dirty = core.clock_s, core.dirty_shards()
        self.known_keys, self.active_keys = core.known_keys, core.active_keys()
        self.active_registered_keys = core.active_registered_keys()
        self.then: dict[Call, After] = {}
        self.looks: dict[Call, Any] = {}  # answers that change nothing


class Memory:
    """Of one process."""

    def __init__(self) -> None:
        self.blank: dict[int, After] = {}  # by partition
        self.answers: dict[Call, Any] = {}
        self._subject: Hashable = None

    def begin(self, subject: Hashable) -> None:
        """What is remembered of another subject is not asked for again."""
        if subject != self._subject:
            self.forget()
        self._subject = subject

    def forget(self) -> None:
        """Also when the code has changed meanwhile, as in tests."""
        self.blank.clear()
        self.answers.clear()


MEMORY: Final = Memory()


def remembered(pure: Callable[[G], A]) -> Callable[[G], A]:
    """A function of one thing that answers from memory."""

    def ask(given: G) -> A:
        call = (pure, given)
        if call not in MEMORY.answers:
            MEMORY.answers[call] = pure(given)
        answer: A = MEMORY.answers[call]
        return answer

    return ask


class RememberedCore:
    """A ScoreCore to whoever uses it. The real one behind it is made and led on when a call is new."""

    def __init__(self, partition: int, new_core: Callable[[int], ScoreCore]) -> None:
        self._new = partial(new_core, partition)
        if partition not in MEMORY.blank:
            MEMORY.blank[partition] = After(self._new(), None)
        self._at = MEMORY.blank[partition]
        self._core: ScoreCore | None = None
        self._owed: list[tuple[str, tuple[Any, ...]]] = []  # calls that were answered from memory

    def _real(self) -> ScoreCore:
        self._core = self._core or self._new()
        for method, arguments in self._owed:
            getattr(self._core, method)(*arguments)
        self._owed.clear()
        return self._core

    def _do(self, method: str, *arguments: Any, key: Call | None = None) -> Any:  # noqa: ANN401 - of any method
        call = (method, *(arguments if key is None else key))
        if call in self._at.then:
            self._owed.append((method, arguments))
        else:
            core = self._real()
            answer = getattr(core, method)(*arguments)
            self._at.then[call] = After(core, answer)
        self._at = self._at.then[call]
        return self._at.answer

    def _look(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - as above
        call = (method, *arguments)
        if call not in self._at.looks:
            self._at.looks[call] = getattr(self._real(), method)(*arguments)
        return self._at.looks[call]

    @property
    def clock_s(self) -> int:
        return self._at.clock_s

    @clock_s.setter
    def clock_s(self, clock_s: int) -> None:
        self._do("__setattr__", "clock_s", clock_s)

    @property
    def known_keys(self) -> int:
        return self._at.known_keys

    def active_keys(self) -> int:
        return self._at.active_keys

    def active_registered_keys(self) -> int:
        return self._at.active_registered_keys

    def dirty_shards(self) -> list[int]:
        return list(self._at.dirty)

    def process(self, frame: pa.RecordBatch) -> list[Finding]:
        return list(self._do("process", frame, key=(frame.serialize().to_pybytes(),)))

    def advance(self, clock_s: int) -> list[Finding]:
        return list(self._do("advance", clock_s))

    def take_duplicates(self) -> dict[str, int]:
        return dict(self._do("take_duplicates"))

    def export_shard(self, shard: int) -> bytes:
        exported: bytes = self._do("export_shard", shard)
        return exported

    def import_shard(self, shard: int, data: bytes) -> None:
        self._do("import_shard", shard, data)

    def place_as(self, placement: Placement) -> None:
        self._do("place_as", placement)

    def export_cohorts(self) -> bytes:
        exported: bytes = self._look("export_cohorts")
        return exported

    def import_cohorts(self, data: bytes) -> None:
        self._do("import_cohorts", data)

    def evidence(self, keys: Sequence[str]) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = self._look("evidence", tuple(keys))
        return found

    def windows(self, key_id: str) -> dict[str, float] | None:
        sums: dict[str, float] | None = self._look("windows", key_id)
        return sums

    def allow(self, marks: Iterable[object], expected: Iterable[object] = ()) -> None:
        """Nobody allows anything in these histories."""
        if list(marks) or list(expected):
            raise NotImplementedError


class RememberedParser:
    """A BatchParser to the ingest."""

    def __init__(self, parser: BatchParser) -> None:
        self._parser = parser

    def read(self, records: RawRecords) -> RawRecords:
        return records

    def build(self, records: RawRecords, *, topic: str, now_ms: int) -> ParsedBatch:
        call = (topic, *records.partition.tolist(), *records.offset.tolist(), *records.values)
        found: ParsedBatch | None = MEMORY.answers.get(call)
        if found is None:
            found = self._parser.build(self._parser.read(records), topic=topic, now_ms=now_ms)
            if not found.dead:  # a dead letter says when it was written
                MEMORY.answers[call] = found
        return found
