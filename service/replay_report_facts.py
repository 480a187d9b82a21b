"""The figures of a replay's report: the same events played twice, once as they were and once with the cuts. Pure.

What an incident costs is what its key spent from a minute before the first finding until the incident was over, less
what the key spent on average before. Both plays are counted in the same way, from the events themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.records import CLOSED, Incident, KeyFacts
from service.replay import ReplayResult
from service.replay_cuts import Contained

_BEFORE_MS: Final = 60_000  # the first finding measured the minute before it
_BARS_MOST: Final = 150
_BAR_MIN: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


class Card(NamedTuple):
    """One incident, as it went with the cuts."""

    incident: Incident
    cut: Contained | None
    cost_without_usd: float  # above normal, had nobody acted
    cost_with_usd: float
    refused_events: int  # after the cut: the thief's, and also the owner's until a new key is in place
    refused_usd: float


class KeyRow(NamedTuple):
    """One key of the table."""

    key_id: str
    facts: KeyFacts
    events: int
    usd: float
    refused_usd: float


class Timeline(NamedTuple):
    """Spend in steps of equal length, in USD."""

    start_ms: int
    step_ms: int
    happened: tuple[float, ...]
    refused: tuple[float, ...]


@dataclass(frozen=True)
class Facts:
    """All that the page says."""

    start_ms: int
    end_ms: int
    keys: int
    events: int
    usd: float
    findings: int
    not_taken: int
    cards: tuple[Card, ...]  # in the order in which they opened
    top_keys: tuple[KeyRow, ...]  # dearest first
    timeline: Timeline

    @property
    def cost_without_usd(self) -> float:
        return sum(card.cost_without_usd for card in self.cards)

    @property
    def cost_with_usd(self) -> float:
        return sum(card.cost_with_usd for card in self.cards)

    @property
    def cuts(self) -> int:
        return sum(card.cut is not None for card in self.cards)


def gather(table: pa.Table, without: ReplayResult, with_cuts: ReplayResult, *, top: int = 15) -> Facts:
    """The figures of both plays of one table of events, which is not empty."""
    used = _Used(table)
    cuts = {cut.key_id: cut for cut in with_cuts.contained}
    used.cut({key_id: cut.cut_at_ms for key_id, cut in cuts.items()})
    cards = _cards(used, without.incidents.values(), with_cuts.incidents.values(), cuts)
    return Facts(
        start_ms=int(used.ts_ms[0]), end_ms=int(used.ts_ms[-1]), keys=without.keys, events=len(used.ts_ms),
        usd=float(used.usd.sum()), findings=without.findings, not_taken=len(without.dead), cards=cards,
        top_keys=used.dearest(top), timeline=used.timeline(),
    )  # fmt: skip


class _Used:
    """The events as columns in time order, and which of them a cut would have refused."""

    def __init__(self, table: pa.Table) -> None:
        rows = table.combine_chunks()
        keys = rows["key_id"].combine_chunks()
        self._rows = rows
        self.ts_ms: NDArray[np.int64] = rows["ts_ms"].to_numpy()
        self.usd: NDArray[np.float64] = rows["cost_nano_usd"].to_numpy() / 1e9
        self._key: NDArray[np.int64] = keys.indices.to_numpy().astype(np.int64)
        self.names: list[str] = keys.dictionary.to_pylist()
        self._place = {name: place for place, name in enumerate(self.names)}
        self.refused = np.zeros(len(self.ts_ms), bool)

    def cut(self, cuts: dict[str, int]) -> None:
        after = np.array([cuts.get(name, int(self.ts_ms[-1])) for name in self.names], np.int64)
        self.refused = self.ts_ms > after[self._key]

    def of(self, key_id: str) -> NDArray[np.bool_]:
        mine: NDArray[np.bool_] = self._key == self._place.get(key_id, -1)
        return mine

    def normal_usd_per_ms(self, key_id: str, before_ms: int) -> float:
        """Average before a moment, counted from the key's first event; 0 for a key without a past."""
        mine = self.of(key_id) & (self.ts_ms < before_ms)
        if not mine.any():
            return 0.0
        return float(self.usd[mine].sum()) / (before_ms - int(self.ts_ms[mine][0]))

    def dearest(self, top: int) -> tuple[KeyRow, ...]:
        spent = np.bincount(self._key, self.usd, len(self.names))
        order = sorted(range(len(self.names)), key=lambda place: (-spent[place], self.names[place]))
        return tuple(self._row(place, float(spent[place])) for place in order[:top])

    def _row(self, place: int, usd: float) -> KeyRow:
        mine = self._key == place
        first = self._rows.slice(int(np.flatnonzero(mine)[0]), 1).to_pylist()[0]
        said = {name: first[name] or "unknown" for name in ("provider", "team", "app", "env")}
        refused = float(self.usd[mine & self.refused].sum())
        return KeyRow(self.names[place], KeyFacts(**said), int(mine.sum()), usd, refused)

    def timeline(self) -> Timeline:
        minutes = (int(self.ts_ms[-1]) - int(self.ts_ms[0])) / 60_000
        step = next((each for each in _BAR_MIN if minutes / each <= _BARS_MOST), 1440 * (1 + int(minutes / 1440 / 150)))
        step_ms = step * 60_000
        start_ms = int(self.ts_ms[0]) // step_ms * step_ms
        bar = (self.ts_ms - start_ms) // step_ms
        count = int(bar[-1]) + 1
        happened = np.bincount(bar[~self.refused], self.usd[~self.refused], count)
        refused = np.bincount(bar[self.refused], self.usd[self.refused], count)
        return Timeline(start_ms, step_ms, tuple(happened.tolist()), tuple(refused.tolist()))


def _cards(
    used: _Used, without: Iterable[Incident], with_cuts: Iterable[Incident], cuts: dict[str, Contained]
) -> tuple[Card, ...]:
    """One for each incident of the world with cuts; what the world without them saw later belongs to the same card."""
    seen = _by_key(without)
    shown = _by_key(with_cuts)
    cards = []
    for key_id in sorted({*seen, *shown}):
        incidents = shown.get(key_id) or seen[key_id]
        rate = used.normal_usd_per_ms(key_id, incidents[0].opened_at_ms - _BEFORE_MS)
        ends = [*(later.opened_at_ms for later in incidents[1:]), int(used.ts_ms[-1]) + 1]
        for incident, until_ms in zip(incidents, ends, strict=True):
            cut = cuts.get(key_id)
            cut = cut if cut and cut.incident_id == incident.incident_id else None
            among = [each for each in seen.get(key_id, []) if incident.opened_at_ms <= each.opened_at_ms < until_ms]
            cards.append(_card(used, incident, among or [incident], until_ms=until_ms, cut=cut, rate=rate))
    return tuple(sorted(cards, key=lambda card: (card.incident.opened_at_ms, card.incident.key_id)))


def _by_key(incidents: Iterable[Incident]) -> dict[str, list[Incident]]:
    keys: dict[str, list[Incident]] = {}
    for incident in sorted(incidents, key=lambda each: each.opened_at_ms):
        keys.setdefault(incident.key_id, []).append(incident)
    return keys


def _card(
    used: _Used, incident: Incident, among: list[Incident], *, until_ms: int, cut: Contained | None, rate: float
) -> Card:
    mine = used.of(incident.key_id)
    without = sum(_above(used, mine, _span(each, until_ms), rate) for each in among)
    end_ms = min(_span(incident, until_ms)[1], cut.cut_at_ms + 1 if cut else until_ms)
    with_cut = _above(used, mine & ~used.refused, (incident.opened_at_ms - _BEFORE_MS, end_ms), rate)
    refused = mine & used.refused if cut else np.zeros(len(mine), bool)
    return Card(incident, cut, without, min(with_cut, without), int(refused.sum()), float(used.usd[refused].sum()))


def _span(incident: Incident, until_ms: int) -> tuple[int, int]:
    """From a minute before it was noticed until it was over, or another card takes on."""
    end_ms = incident.updated_at_ms if incident.state in CLOSED else until_ms
    return incident.opened_at_ms - _BEFORE_MS, min(end_ms, until_ms)


def _above(used: _Used, mine: NDArray[np.bool_], span: tuple[int, int], rate: float) -> float:
    begin_ms, end_ms = span
    inside = mine & (used.ts_ms >= begin_ms) & (used.ts_ms < end_ms)
    return max(0.0, float(used.usd[inside].sum()) - rate * (end_ms - begin_ms))
