"""History through the cores of the stream: one for each partition, each fed with the keys that live there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from controls.expected import expected_of
from controls.policies import Policies
from controls.registry import Registry
from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.exception import PolicyException
from schemas.records import Finding, Mark
from service.config_tree import Folder
from sources.routing import split_by_partition


def new_core(
    folder: Folder, partition: int, *, settings: DetectorsConfig | None = None, marks: Iterable[Mark] = (),
    exceptions: Iterable[PolicyException] = (),
) -> ScoreCore:  # fmt: skip
    """A core as the worker makes it; `settings` instead of the folder's own. Exceptions hold each in its time."""
    exceptions = tuple(exceptions)
    registry, policies = Registry(folder.keys), Policies(folder.policies, exceptions)
    core = ScoreCore(
        settings or folder.detectors, partition=partition, shards=folder.wiring.state.shards,
        facts_of=registry.facts_of, forbidden=policies.forbidden,
        watch_of=lambda key_id, facts: policies.covering(key_id, facts, registry.entry(key_id)),
    )  # fmt: skip
    core.allow(tuple(marks), expected_of(exceptions))
    return core


def new_cores(
    folder: Folder, *, marks: Iterable[Mark] = (), exceptions: Iterable[PolicyException] = ()
) -> list[ScoreCore]:
    """One for each partition of the stream."""
    known, excepted = tuple(marks), tuple(exceptions)
    partitions = range(folder.wiring.kafka.partitions)
    return [new_core(folder, partition, marks=known, exceptions=excepted) for partition in partitions]


def feed(cores: list[ScoreCore], frame: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch, list[Finding]]]:
    """A frame to the cores: each partition with its rows and what its core says of them."""
    for partition, part in split_by_partition(frame, len(cores)).items():
        yield partition, part, cores[partition].process(part)
