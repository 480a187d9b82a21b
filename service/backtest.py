"""Two versions of the configuration over the same history, read once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from containment.providers.base import StepsOf
from detectors.beside import Beside, beside
from detectors.core import ScoreCore
from schemas.config import DetectorsConfig
from schemas.exception import PolicyException
from schemas.records import Mark
from service.backtest_labels import Labelled, Ledger, labelled, scenarios
from service.backtest_side import Side, Told
from service.config_tree import Folder
from service.play import feed, new_core, new_cores


@dataclass(frozen=True)
class Backtest:
    """What came out, before it is put into words."""

    current: tuple[Told, ...]
    candidate: tuple[Told, ...]
    gained: tuple[Told, ...]  # incidents of the candidate that the current version does not have
    lost: tuple[Told, ...]
    labels: tuple[Labelled, ...]
    untried: int  # labels of keys or times of which the history holds nothing
    one_core: bool  # learned once and judged twice
    from_ms: int
    last_ms: int
    keys: int
    events: int
    usd: float


def backtest(
    current: Folder, candidate: Folder, frames: Iterable[pa.RecordBatch], *,
    offered: Mapping[str, StepsOf], marks: Sequence[Mark], from_ms: int, last_ms: int,
    exceptions: Sequence[PolicyException] = (),
) -> Backtest:  # fmt: skip
    """Play frames, which end at `last_ms`, and compare what both say from `from_ms` on."""
    sides = Side(current, offered, from_ms=from_ms), Side(candidate, offered, from_ms=from_ms)
    ledger = Ledger(mark.key_id for mark in scenarios(marks))
    cores = new_cores(current, marks=marks, exceptions=exceptions)
    seconds = [_second(core, current, candidate, marks, exceptions) for core in cores]
    keys, events, nano_usd = set[str](), 0, 0
    for frame in frames:
        for partition, part, told in feed(cores, frame):
            sides[0].take(told)
            sides[1].take(seconds[partition].process(part))
            keys.update(part["key_id"].unique().to_pylist())
        ledger.saw(frame)
        events, nano_usd = events + frame.num_rows, nano_usd + int(frame["cost_nano_usd"].to_numpy().sum())
    for core, second in zip(cores, seconds, strict=True):
        sides[0].take(core.advance(last_ms // 1000 + 1))
        sides[1].take(second.advance(last_ms // 1000 + 1))
    ours, theirs = sides[0].incidents(), sides[1].incidents()
    labels = labelled(marks, ours, theirs, from_ms=from_ms, last_ms=last_ms, ledger=ledger)
    silence_ms = int(1000 * max(side.folder.responses.resolve_after_s for side in sides))
    return Backtest(
        current=tuple(ours), candidate=tuple(theirs), gained=tuple(unmatched(theirs, ours, silence_ms)),
        lost=tuple(unmatched(ours, theirs, silence_ms)),
        labels=labels, untried=len(scenarios(marks)) - len(labels),
        one_core=all(not isinstance(second, ScoreCore) for second in seconds),
        from_ms=from_ms, last_ms=last_ms, keys=len(keys), events=events, usd=nano_usd / 1e9,
    )  # fmt: skip


def _second(
    core: ScoreCore, current: Folder, candidate: Folder, marks: Sequence[Mark], exceptions: Sequence[PolicyException]
) -> Beside:
    def blank(settings: DetectorsConfig) -> ScoreCore:
        return new_core(candidate, core.partition, settings=settings, marks=marks, exceptions=exceptions)

    if (current.keys, current.policies) == (candidate.keys, candidate.policies):
        return beside(core, candidate.detectors, new_core=blank)
    return blank(candidate.detectors)


def unmatched(ours: Sequence[Told], theirs: Sequence[Told], silence_ms: int) -> list[Told]:
    """Incidents of ours at whose time the other side had none of the same key."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for told in theirs:
        spans.setdefault(told.key_id, []).append((told.opened_ms, told.last_ms + silence_ms))

    def alone(told: Told) -> bool:
        over_ms = told.last_ms + silence_ms
        return all(over_ms < low or told.opened_ms > high for low, high in spans.get(told.key_id, ()))

    return [told for told in ours if alone(told)]
