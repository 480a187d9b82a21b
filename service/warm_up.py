"""What a history teaches, as the state that a live worker restores. Pure.

The coordinates of stored rows are not those of the live topic: the state covers none of them, so that nothing live is
skipped, and begins at the clock where the history ends. Nothing in it counts as told: what is found live is told live.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from detectors.core import ScoreCore
from detectors.families import CALIBRATED
from schemas.config import DetectorsConfig
from schemas.records import Mark
from service.config_tree import Folder
from service.play import feed, new_cores

THIN_WINDOWS: Final = 300.0
"""A cohort that has seen fewer is judged more by the built-in prior than by itself."""


class State(NamedTuple):
    """One value of the score stage's changelog."""

    partition: int
    name: str
    value: bytes


class CohortBasis(NamedTuple):
    """What one cohort's calibration rests on, in one partition: each has its own."""

    env: str
    provider: str
    keys: int
    windows: dict[str, float]  # 10-minute windows that count, by family; old ones count less

    @property
    def thin(self) -> bool:
        return max(self.windows.values(), default=0.0) < THIN_WINDOWS


class Learned(NamedTuple):
    """State in the order to write it, and what to say of it."""

    states: list[State]
    clock_s: int
    keys: int
    windows: int  # active 10-minute windows, of all keys
    cohorts: list[CohortBasis]
    suspicious: dict[str, int]  # key -> findings within the history


def learn(folder: Folder, frames: Iterable[pa.RecordBatch], *, marks: Iterable[Mark] = (), last_ms: int) -> Learned:
    """Play frames, which end at `last_ms`, through the partitions of the stream."""
    cores = new_cores(folder, marks=marks)
    suspicious: Counter[str] = Counter()
    for frame in frames:
        for _, _, told in feed(cores, frame):
            suspicious.update(finding.key_id for finding in told)
    clock_s = last_ms // 1000 + 1
    for core in cores:
        suspicious.update(finding.key_id for finding in core.advance(clock_s))
    return Learned(
        states=[state for core in cores for state in states_of(core)],
        clock_s=clock_s,
        keys=sum(core.known_keys for core in cores),
        windows=sum(int(core.table.columns["key_windows"][: core.known_keys].sum()) for core in cores),
        cohorts=_merged(basis for core in cores for basis in _cohorts(core)),
        suspicious=dict(sorted(suspicious.items(), key=lambda found: (-found[1], found[0]))),
    )


def states_of(core: ScoreCore) -> Iterator[State]:
    """The core's state as its first checkpoint: the cohorts first, and last the clock, without which none is read."""
    core.covered[:] = -1
    core.judge.said.restore(())
    yield State(core.partition, "cohorts", core.export_cohorts())
    for shard in range(core.shards):
        yield State(core.partition, str(shard), core.export_shard(shard))
    yield State(core.partition, "clock", str(core.clock_s).encode())


def is_readable(folder: Folder, states: Iterable[State]) -> bool:
    """Whether a worker under this folder can restore them: same partitions, same shards, same version."""
    found: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    for partition, name, value in states:
        found[partition][name] = value
    if sorted(found) != list(range(folder.wiring.kafka.partitions)):
        return False
    return all(_restores(folder.wiring.state.shards, names) for names in found.values())


def _restores(shards: int, values: dict[str, bytes]) -> bool:
    if set(values) != {"cohorts", "clock", *map(str, range(shards))}:
        return False
    blank = ScoreCore(DetectorsConfig(), partition=0, shards=shards)
    try:
        blank.import_cohorts(values["cohorts"])
        blank.import_shard(0, values["0"])
    except ValueError:
        return False
    return True


def _cohorts(core: ScoreCore) -> Iterator[CohortBasis]:
    meta, arrays = core.population.export()
    keys = np.bincount(core.book.columns["cohort"][: core.known_keys], minlength=len(meta["names"]))
    for number, (env, provider) in enumerate(meta["names"]):
        if keys[number]:
            counts = arrays["counts"][number].sum(axis=-1).tolist()
            windows = dict(zip(CALIBRATED, counts, strict=True))
            yield CohortBasis(env, provider, int(keys[number]), windows)


def _merged(parts: Iterable[CohortBasis]) -> list[CohortBasis]:
    """Keys of all partitions together; of the windows the fewest, for each partition judges by its own."""
    found: dict[tuple[str, str], CohortBasis] = {}
    for part in parts:
        name = (part.env, part.provider)
        known = found.get(name, part._replace(keys=0))
        least = {family: min(count, known.windows[family]) for family, count in part.windows.items()}
        found[name] = part._replace(keys=known.keys + part.keys, windows=least)
    return [found[name] for name in sorted(found)]
