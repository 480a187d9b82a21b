"""History through the cores of the stream: one for each partition, each fed with the keys that live there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from controls.policies import Policies
from controls.registry import Registry
from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.records import Finding, Mark
from service.config_tree import Folder
from sources.routing import split_by_partition


def new_core(folder: Folder, partition: int, *, settings: DetectorsConfig | None = None) -> ScoreCore:
    """A core as the worker makes it; `settings` instead of the folder's own."""
    registry, policies = Registry(folder.keys), Policies(folder.policies)
    return ScoreCore(
        settings or folder.detectors, partition=partition, shards=folder.wiring.state.shards,
        facts_of=registry.facts_of, forbidden=policies.forbidden,
        watch_of=lambda key_id, facts: policies.covering(key_id, facts, registry.entry(key_id)),
    )  # fmt: skip


def new_cores(folder: Folder, *, marks: Iterable[Mark] = ()) -> list[ScoreCore]:
    """One for each partition of the stream."""
    known = tuple(marks)
    cores = [new_core(folder, partition) for partition in range(folder.wiring.kafka.partitions)]
    for core in cores:
        core.allow(known)
    return cores


def feed(cores: list[ScoreCore], frame: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch, list[Finding]]]:
    """A frame to the cores: each partition with its rows and what its core says of them."""
    for partition, part in split_by_partition(frame, len(cores)).items():
        yield partition, part, cores[partition].process(part)
