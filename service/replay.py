"""`keyfuse replay`: recorded events through the very core of the stages, in event time, deterministic to the byte.

Pure. Events are sorted by their time and scored in the partitions they would have in the broker. In a closed loop
the events are fed in slots so short that a cut is known before the first event it would have stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from alerting.case import KeyCase
from containment.providers.base import StepsOf
from schemas.config import ResponsesConfig
from schemas.exception import PolicyException
from schemas.frame import FRAME_SCHEMA
from schemas.records import Command, DeadLetter, Finding, Incident, Mark, Outcome, StepState, rfc3339
from service.config_tree import Folder
from service.play import new_cores
from service.replay_cuts import Contained, Cuts
from sources.batch import BatchParser, RawRecord
from sources.routing import compact, split_by_partition
from streams.decide_core import Decider, Decision, offers

ROWS_PER_STEP: Final = 8192
LINES_PER_PARSE: Final = 20_000


@dataclass
class ReplayResult:
    """What came out, and the sums for the summary; in a closed loop those of the world with the cuts."""

    lines: list[bytes] = field(default_factory=list)
    events: int = 0
    keys: int = 0
    usd: float = 0.0
    dropped_events: int = 0
    repeated: int = 0  # events that came again with their event_id: scored once, in all sums twice
    dead: list[DeadLetter] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    contained: list[Contained] = field(default_factory=list)
    findings: int = 0


def read_events(
    records: Iterable[bytes], parser: BatchParser, *, lines_per_parse: int = LINES_PER_PARSE
) -> tuple[pa.Table, list[DeadLetter]]:
    """All events of the records, sorted by time (equal times keep their order), and what could not be taken."""
    batches: list[pa.RecordBatch] = []
    dead: list[DeadLetter] = []
    for chunk in _chunks(records, lines_per_parse):
        parsed = parser.parse(chunk, topic="replay", now_ms=0)
        batches.append(parsed.frame)
        dead.extend(parsed.dead)
    table = pa.Table.from_batches(batches, FRAME_SCHEMA).unify_dictionaries().combine_chunks()
    order = np.argsort(table["ts_ms"].to_numpy(), kind="stable")
    table = table.take(pa.array(order))
    offsets = pa.array(np.arange(table.num_rows, dtype=np.int64))
    zeros = pa.array(np.zeros(table.num_rows, np.int32))
    for name, column in (("raw_offset", offsets), ("raw_partition", zeros), ("raw_index", zeros)):
        table = table.set_column(FRAME_SCHEMA.get_field_index(name), FRAME_SCHEMA.field(name), column)
    return table, dead


def _chunks(records: Iterable[bytes], lines: int) -> Iterator[list[RawRecord]]:
    chunk: list[RawRecord] = []
    for number, line in enumerate(records):
        if line.strip():
            chunk.append(RawRecord(0, number, line, None))
        if len(chunk) >= lines:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Replay:
    """One replay. `closed_loop` takes every mode as `auto` and drops a cut key's events, as the world would."""

    def __init__(
        self,
        folder: Folder,
        *,
        offered: Mapping[str, StepsOf],
        closed_loop: bool = False,
        containment_latency_s: float = 5.0,
        marks: Iterable[Mark] = (),
        exceptions: Iterable[PolicyException] = (),
        rows_per_step: int = ROWS_PER_STEP,
    ) -> None:
        """`marks` and `exceptions` count each in its own time; `rows_per_step` changes the speed and nothing else."""
        responses = all_auto(folder.responses) if closed_loop else folder.responses
        self._partitions = folder.wiring.kafka.partitions
        self._cores = new_cores(folder, marks=marks, exceptions=exceptions)
        self._decider = Decider(responses, folder.budgets, offers(offered))
        self._closed_loop = closed_loop
        self._latency_ms = int(containment_latency_s * 1000)
        self._rows_per_step = rows_per_step
        self._cases: dict[str, KeyCase | None] = {}
        self._coming: defaultdict[str, list[Outcome]] = defaultdict(list)
        self._cuts = Cuts()
        self._lines: list[tuple[int, str, int, bytes]] = []
        self.result = ReplayResult()

    def run(self, table: pa.Table) -> ReplayResult:
        """Feed the whole table, which comes from `read_events`; the result's lines are in time order."""
        if table.num_rows:
            rows = table.combine_chunks().to_batches()[0]
            self._feed(rows)
            self._count(rows)
        # A key's own records of one millisecond stay in the order in which one led to the other.
        self._lines.sort(key=lambda line: line[:3])
        self.result.lines = [line for *_, line in self._lines]
        return self.result

    def _feed(self, rows: pa.RecordBatch) -> None:
        seconds = rows["ts_ms"].to_numpy() // 1000
        parts = split_by_partition(rows, self._partitions)
        places = {p: part["raw_offset"].to_numpy() for p, part in parts.items()}
        for start, end in self._slots(seconds):
            if self._closed_loop:
                self._decide(f for core in self._cores for f in core.advance(int(seconds[start])))
            for first in range(start, end, self._rows_per_step):
                bounds = (first, min(first + self._rows_per_step, end))
                for partition, part in parts.items():
                    low, high = np.searchsorted(places[partition], bounds).tolist()
                    self._score(partition, part.slice(low, high - low))
        end_s = int(seconds[-1]) + 1
        self._decide(f for core in self._cores for f in core.advance(end_s))
        for key_id in sorted(self._cases):
            self._catch_up(key_id, None)
            self._apply(key_id, self._decider.silence(self._cases[key_id], end_s * 1000))

    def _slots(self, seconds: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Ranges of rows. What is decided in a slot of a closed loop takes effect after its end, never within."""
        if not self._closed_loop:
            yield 0, len(seconds)
            return
        slot_s = max(1, self._latency_ms // 1000 - 1)
        slots = (seconds - seconds[0]) // slot_s
        starts = np.flatnonzero(np.diff(slots, prepend=-1)).tolist()
        yield from zip(starts, [*starts[1:], len(seconds)], strict=True)

    def _score(self, partition: int, rows: pa.RecordBatch) -> None:
        happened = self._cuts.without_cut(compact(rows)) if rows.num_rows else rows
        if happened.num_rows:
            self._decide(self._cores[partition].process(happened))

    def _decide(self, findings: Iterable[Finding]) -> None:
        for finding in sorted(findings, key=lambda f: (f.at_ms, f.key_id)):  # a key's own in the order of the core
            self.result.findings += 1
            self._catch_up(finding.key_id, finding.at_ms)
            self._write(finding.key_id, finding.at_ms, _finding_line(finding))
            self._apply(finding.key_id, self._decider.finding(self._cases.get(finding.key_id), finding))
            self._catch_up(finding.key_id, finding.at_ms)

    def _apply(self, key_id: str, decision: Decision) -> None:
        self._cases[key_id] = decision.case
        for incident in decision.incidents:
            self.result.incidents[incident.incident_id] = incident
            self._write(key_id, incident.updated_at_ms, _incident_line(incident))
        for command in decision.commands:
            self._write(key_id, command.at_ms, _command_line(command))
            self._world_answers(command)

    def _world_answers(self, command: Command) -> None:
        """In a closed loop the provider obeys after the containment latency; else nothing happens."""
        runs = self._closed_loop and command.automatic
        if not runs and command.mode != "observe":
            return
        at_ms = command.at_ms + self._latency_ms if runs else command.at_ms
        if runs:
            self._cuts.note(command, at_ms)
        outcome = Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=StepState.CONFIRMED if runs else StepState.DRY_RUN, at_ms=at_ms, attempts=1,
            seconds_to_effective=self._latency_ms / 1000 if runs else None,
        )  # fmt: skip
        self._coming[command.key_id].append(outcome)

    def _catch_up(self, key_id: str, clock_ms: int | None) -> None:
        """Hear of the key's outcomes up to this time, None for all, and of silence before them."""
        coming = self._coming[key_id]
        while coming and (clock_ms is None or coming[0].at_ms <= clock_ms):
            outcome = coming.pop(0)
            self._apply(key_id, self._decider.silence(self._cases[key_id], outcome.at_ms))
            self._apply(key_id, self._decider.outcome(self._cases[key_id], outcome, at_ms=outcome.at_ms))

    def _count(self, rows: pa.RecordBatch) -> None:
        kept = self._cuts.without_cut(rows)
        self.result.keys = len(rows["key_id"].unique())
        self.result.events = kept.num_rows
        self.result.dropped_events = rows.num_rows - kept.num_rows
        self.result.repeated = sum(core.take_duplicates()["retry"] for core in self._cores)
        self.result.usd = int(np.sum(kept["cost_nano_usd"].to_numpy())) / 1e9
        newest = [case.incident for case in self._cases.values() if case and case.incident]
        self.result.incidents |= {incident.incident_id: incident for incident in newest}
        self.result.contained = self._cuts.contained(kept, self.result.incidents)

    def _write(self, key_id: str, at_ms: int, line: dict[str, Any]) -> None:
        self._lines.append((at_ms, key_id, len(self._lines), orjson.dumps(line) + b"\n"))


def all_auto(responses: ResponsesConfig) -> ResponsesConfig:
    return responses.model_copy(update={"mode": "auto", "modes": {}, "key_modes": {}})


def _finding_line(finding: Finding) -> dict[str, Any]:
    return {
        "type": "finding", "at": rfc3339(finding.at_ms), "key_id": finding.key_id, "family": finding.family,
        "severity": finding.severity, "score": finding.score, "reason": finding.reason, "evidence": finding.evidence,
    }  # fmt: skip


def _incident_line(incident: Incident) -> dict[str, Any]:
    return {
        "type": "incident", "at": rfc3339(incident.updated_at_ms), "incident_id": incident.incident_id,
        "key_id": incident.key_id, "state": incident.state, "severity": incident.severity,
        "families": list(incident.families),
    }  # fmt: skip


def _command_line(command: Command) -> dict[str, Any]:
    return {
        "type": "command", "at": rfc3339(command.at_ms), "incident_id": command.incident_id,
        "key_id": command.key_id, "step": command.step, "automatic": command.automatic,
        "reversible": command.reversible,
    }  # fmt: skip
