"""`keyfuse replay`: recorded events through the very core of the stages, in event time, deterministic to the byte.

Pure but for the files it is given. Events are sorted by their time; partitions are scored as the broker's would be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from controls.policies import Policies
from controls.registry import Registry
from detectors.core import ScoreCore
from schemas.config import ResponsesConfig
from schemas.frame import FRAME_SCHEMA
from schemas.records import Command, DeadLetter, Finding, Incident, Outcome, Step, StepState, rfc3339
from service.config_folder import Folder
from sources.batch import BatchParser, RawRecord
from sources.routing import split_by_partition
from streams.decide_core import Decider, Decision

ROWS_PER_STEP: Final = 8192
_LINES_PER_PARSE: Final = 20_000
_ORDER: Final = {"finding": 0, "incident": 1, "command": 2}
_CUTS: Final = frozenset({"block", "disable", "revoke"})
UNCONFIGURED: Final[Mapping[Step, bool]] = {"disable": True}  # a provider nobody configured: assume the usual rung


@dataclass
class ReplayResult:
    """What came out, and the sums for the summary."""

    lines: list[bytes] = field(default_factory=list)
    events: int = 0
    keys: int = 0
    usd: float = 0.0
    dropped_events: int = 0
    dead: list[DeadLetter] = field(default_factory=list)
    incidents: dict[str, Incident] = field(default_factory=dict)
    cut_at_ms: dict[str, int] = field(default_factory=dict)
    findings: int = 0


def read_events(records: Iterable[bytes], parser: BatchParser) -> tuple[pa.Table, list[DeadLetter]]:
    """All events of the records, sorted by time (equal times keep their order), and what could not be taken."""
    batches: list[pa.RecordBatch] = []
    dead: list[DeadLetter] = []
    for chunk in _chunks(records):
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


def _chunks(records: Iterable[bytes]) -> Iterator[list[RawRecord]]:
    chunk: list[RawRecord] = []
    for number, line in enumerate(records):
        if line.strip():
            chunk.append(RawRecord(0, number, line, None))
        if len(chunk) >= _LINES_PER_PARSE:
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
        offered: Mapping[str, Mapping[Step, bool]],
        closed_loop: bool = False,
        containment_latency_s: float = 5.0,
    ) -> None:
        registry, policies = Registry(folder.keys), Policies(folder.policies)
        responses = _all_auto(folder.responses) if closed_loop else folder.responses
        self._partitions = folder.wiring.kafka.partitions
        self._cores = [
            ScoreCore(
                folder.detectors, partition=p, shards=folder.wiring.state.shards,
                facts_of=registry.facts_of, forbidden=policies.forbidden,
            )
            for p in range(self._partitions)
        ]  # fmt: skip
        self._decider = Decider(responses, folder.budgets, lambda provider: offered.get(provider, UNCONFIGURED))
        self._closed_loop = closed_loop
        self._latency_ms = int(containment_latency_s * 1000)
        self._cases: dict[str, Any] = {}
        self._lines: list[tuple[int, int, int, bytes]] = []
        self.result = ReplayResult()

    def run(self, table: pa.Table) -> ReplayResult:
        """Feed the whole table; the result's lines are in time order."""
        self.result.keys = len(table["key_id"].unique()) if table.num_rows else 0
        for step in self._steps(table):
            self._feed(step)
        if table.num_rows:
            end_s = table["ts_ms"][table.num_rows - 1].as_py() // 1000 + 1
            self._decide(finding for core in self._cores for finding in core.advance(end_s))
            self._silence(end_s * 1000)
        self._lines.sort(key=lambda line: line[:3])
        self.result.lines = [line for *_, line in self._lines]
        return self.result

    def _steps(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """Slices of rows. In a closed loop none is longer than the containment takes, so that a cut is in time."""
        ts_ms = table["ts_ms"].to_numpy() if table.num_rows else np.empty(0, np.int64)
        span_ms = max(1000, self._latency_ms - 1000) if self._closed_loop else None
        start = 0
        while start < len(ts_ms):
            end = min(start + ROWS_PER_STEP, len(ts_ms))
            if span_ms is not None:
                second_ms = ts_ms[start] // 1000 * 1000
                end = min(end, int(np.searchsorted(ts_ms, second_ms + span_ms, side="left")))
                self._decide(f for core in self._cores for f in core.advance(int(second_ms // 1000)))
            yield table.slice(start, end - start).combine_chunks().to_batches()[0]
            start = end

    def _feed(self, rows: pa.RecordBatch) -> None:
        if self._closed_loop and self.result.cut_at_ms:
            rows = self._without_cut(rows)
        self.result.events += rows.num_rows
        self.result.usd += int(np.sum(rows["cost_nano_usd"].to_numpy())) / 1e9
        findings: list[Finding] = []
        for partition, part in split_by_partition(rows, self._partitions).items():
            findings.extend(self._cores[partition].process(part))
        self._decide(findings)

    def _without_cut(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        keys = rows["key_id"]
        never = np.iinfo(np.int64).max
        limit = np.array([self.result.cut_at_ms.get(key, never) for key in keys.dictionary.to_pylist()], np.int64)
        keep = rows["ts_ms"].to_numpy() <= limit[keys.indices.to_numpy()]
        self.result.dropped_events += int(len(keep) - keep.sum())
        return rows.filter(pa.array(keep))

    def _decide(self, findings: Iterable[Finding]) -> None:
        for finding in sorted(findings, key=lambda f: (f.at_ms, f.key_id, f.family, f.detector)):
            self.result.findings += 1
            self._write(finding.at_ms, _finding_line(finding))
            self._apply(finding.key_id, self._decider.finding(self._cases.get(finding.key_id), finding))

    def _apply(self, key_id: str, decision: Decision) -> None:
        self._cases[key_id] = decision.case
        for incident in decision.incidents:
            self.result.incidents[incident.incident_id] = incident
            self._write(incident.updated_at_ms, _incident_line(incident))
        for command in decision.commands:
            self._write(command.at_ms, _command_line(command))
            self._world_answers(command)

    def _world_answers(self, command: Command) -> None:
        """In a closed loop the provider obeys after the containment latency; else nothing happens."""
        runs = self._closed_loop and command.mode == "auto" and command.automatic
        at_ms = command.at_ms + self._latency_ms if runs else command.at_ms
        if command.mode == "approve" or (command.mode == "auto" and not runs):
            return
        if runs and command.step in _CUTS:
            self.result.cut_at_ms.setdefault(command.key_id, at_ms)
        outcome = Outcome(
            command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id, step=command.step,
            state=StepState.CONFIRMED if runs else StepState.DRY_RUN, at_ms=at_ms, attempts=1,
            seconds_to_effective=self._latency_ms / 1000 if runs else None,
        )  # fmt: skip
        self._apply(command.key_id, self._decider.outcome(self._cases.get(command.key_id), outcome, at_ms=at_ms))

    def _silence(self, clock_ms: int) -> None:
        for key_id in sorted(self._cases):
            self._apply(key_id, self._decider.silence(self._cases[key_id], clock_ms))

    def _write(self, at_ms: int, line: dict[str, Any]) -> None:
        self._lines.append((at_ms, _ORDER[line["type"]], len(self._lines), orjson.dumps(line) + b"\n"))


def _all_auto(responses: ResponsesConfig) -> ResponsesConfig:
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
