"""Thefts on the history's own keys, each in a copy of what was known at its moment, so that none teaches the history.

At a few moments of the history the cores are copied. In each copy some keys are stolen: their owners go on as recorded,
the thief comes on top. What keys share stands still there: one theft must not excuse the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from detectors.beside import fork
from detectors.core import ScoreCore
from schemas.frame import FRAME_SCHEMA
from service.tune_record import Recorder
from service.tune_thefts import Theft
from service.tune_victims import sim_key
from sources.simulator import thefts as simulator

Kind = tuple[str, float]
LASTS_S: Final = 1200
"""So long a planted theft is played; what is not told by then counts as told by the bill, a day later."""
KINDS: Final[tuple[Kind, ...]] = (
    ("burst", 3.0), ("burst", 10.0), ("burst", 30.0), ("reseller", 10.0), ("probe_then_abuse", 10.0),
    ("model_swap", 10.0), ("context_stuffing", 3.0), ("context_stuffing", 10.0),
)  # fmt: skip
"""Shapes of `keyfuse simulate --theft list`, each with how many times the key's usual spend it takes."""
_SHARES: Final = (0.35, 0.6, 0.85)  # of the time that is judged
_VICTIMS: Final = 8  # at each moment
_LEAST_WINDOWS: Final = 6
_RECENT_S: Final = 86_400
_LEAST_USD_PER_MIN: Final = 0.2  # a thief who takes less is not worth a person's night
_NEVER: Final = 1 << 60
Parse = Callable[[list[bytes]], pa.RecordBatch]
Blank = Callable[[int], ScoreCore]


class Victim(NamedTuple):
    """A key that will be stolen."""

    key_id: str
    partition: int
    usd_per_min: float  # what it usually spends while it is active


@dataclass
class _Moment:
    start_ms: int
    victims: Sequence[Victim]
    copies: dict[int, ScoreCore]  # by partition, as of the moment
    rows: list[pa.RecordBatch] = field(default_factory=list)  # of the victims, while the theft lasts

    @property
    def end_ms(self) -> int:
        return self.start_ms + LASTS_S * 1000


class Planter:
    """Shown every frame before the cores take it, it copies them at its moments and plays the thefts when they end."""

    def __init__(
        self,
        cores: Sequence[ScoreCore],
        *,
        blank: Blank,
        parse: Parse,
        kinds: Sequence[Kind],
        from_ms: int,
        last_ms: int,
    ) -> None:
        self._cores, self._blank, self._parse, self._kinds = cores, blank, parse, kinds
        span_ms = last_ms - from_ms - LASTS_S * 1000
        self._starts = sorted({from_ms + int(span_ms * share) for share in _SHARES}) if span_ms > 0 else []
        self._open: list[_Moment] = []
        self.thefts: list[Theft] = []

    def before(self, frame: pa.RecordBatch) -> None:
        """The next frame of the history, in the order of time."""
        now_ms = int(frame["ts_ms"].to_numpy()[0])
        while self._starts and self._starts[0] <= now_ms:
            self._starts.pop(0)
            self._begin(now_ms)
        for moment in [each for each in self._open if each.end_ms <= now_ms]:
            self._open.remove(moment)
            self._play(moment)
        for moment in self._open:
            moment.rows.append(_of_keys(frame, [victim.key_id for victim in moment.victims], moment.end_ms))

    def finish(self) -> None:
        """The history has ended."""
        for moment in self._open:
            self._play(moment)
        self._open.clear()

    def _begin(self, start_ms: int) -> None:
        victims = chosen(self._cores, start_ms // 1000)
        if victims:
            places = sorted({victim.partition for victim in victims})
            copies = {place: fork(self._cores[place], self._blank(place)) for place in places}
            self._open.append(_Moment(start_ms, victims, copies))

    def _play(self, moment: _Moment) -> None:
        for number, (shape, times) in enumerate(self._kinds):
            seed = moment.start_ms // 1000 + number
            stolen = {victim: self._steal(moment, victim, shape, times, seed) for victim in moment.victims}
            for place, base in moment.copies.items():
                here = {victim: rows for victim, rows in stolen.items() if victim.partition == place}
                self.thefts += self._played(moment, base, here, f"{shape} x{times:g}")

    def _steal(self, moment: _Moment, victim: Victim, shape: str, times: float, seed: int) -> pa.RecordBatch:
        """The thief's rows."""
        core = moment.copies[victim.partition]
        own = _of_keys(_joined(moment.rows), [victim.key_id], moment.end_ms)
        key = sim_key(victim.key_id, core.book.facts[core.book.slot_of[victim.key_id]], own, lasted_s=LASTS_S)
        usd_per_min = max(times * victim.usd_per_min, _LEAST_USD_PER_MIN)
        theft = simulator.Theft(shape, (key,), moment.start_ms, float(LASTS_S), usd_per_min=usd_per_min, seed=seed)
        return self._parse([orjson.dumps(event) for event in simulator.steal(theft, priced=True)])

    def _played(
        self, moment: _Moment, base: ScoreCore, stolen: dict[Victim, pa.RecordBatch], name: str
    ) -> Iterator[Theft]:
        core = fork(base, self._blank(base.partition))
        core.population.block = _NEVER
        recorder = Recorder(core, from_ms=moment.start_ms)
        owners = _of_keys(_joined(moment.rows), [victim.key_id for victim in stolen], moment.end_ms)
        core.process(_merged(owners, list(stolen.values())))
        core.advance(moment.end_ms // 1000 + 1)
        records = recorder.records()
        for victim, rows in stolen.items():
            at_ms = rows["ts_ms"].to_numpy()
            if rows.num_rows:
                yield Theft(
                    name=name, key_id=victim.key_id, from_ms=int(at_ms[0]), until_ms=moment.end_ms, goes_on=True,
                    records=records.of_keys([victim.key_id]).where_from(int(at_ms[0])), spent_ms=at_ms,
                    spent_usd=np.cumsum(rows["cost_nano_usd"].to_numpy()) / 1e9,
                )  # fmt: skip


def chosen(cores: Iterable[ScoreCore], now_s: int) -> list[Victim]:
    """Keys in use, from those that spend little to those that spend much."""
    found = []
    for core in cores:
        columns, n = core.table.columns, core.known_keys
        recent = columns["key_seen"][:n] > now_s - _RECENT_S
        slots = np.flatnonzero(recent & (columns["key_windows"][:n] >= _LEAST_WINDOWS)).tolist()
        found += [Victim(core.book.ids[slot], core.partition, float(columns["vel_mean"][slot])) for slot in slots]
    found.sort(key=lambda victim: (victim.usd_per_min, victim.key_id))
    if len(found) <= _VICTIMS:
        return found
    return [found[place] for place in np.linspace(0, len(found) - 1, _VICTIMS).round().astype(int).tolist()]


def _of_keys(frame: pa.RecordBatch, keys: Sequence[str], end_ms: int) -> pa.RecordBatch:
    mine = pc.and_(pc.is_in(frame["key_id"].cast(pa.string()), pa.array(keys)), pc.less(frame["ts_ms"], end_ms))
    return frame.filter(mine)


def _joined(frames: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    table = pa.Table.from_batches(list(frames), FRAME_SCHEMA).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)


def _merged(owners: pa.RecordBatch, thieves: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All in the order of time. A thief's rows come from a raw partition of their own."""
    rows = _joined([owners, *thieves])
    order = np.argsort(rows["ts_ms"].to_numpy(), kind="stable")
    stolen = (order >= owners.num_rows).astype(np.int32)
    taken = rows.take(pa.array(order))
    places = pa.array(np.where(stolen, np.cumsum(stolen), taken["raw_offset"].to_numpy()))
    for name, values in (("raw_partition", pa.array(stolen)), ("raw_offset", places)):
        taken = taken.set_column(FRAME_SCHEMA.get_field_index(name), FRAME_SCHEMA.field(name), values)
    zeros = pa.array(np.where(stolen, 0, taken["raw_index"].to_numpy()).astype(np.int32))
    return taken.set_column(FRAME_SCHEMA.get_field_index("raw_index"), FRAME_SCHEMA.field("raw_index"), zeros)
