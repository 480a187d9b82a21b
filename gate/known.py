"""What this replica knows of keys, and of where budgets stand: the newest of what it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from controls.registry import Registry
from gate.kept import Kept, Place, Said
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict

STRANGER: Final = KeyFacts(provider="unknown")
"""A key that nobody registered."""
Status = Callable[[str], BudgetStatus | None]


class Known:
    """Told by topics and by the folder. A key that was denied stays so until a verdict says otherwise."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verdicts: dict[str, GateVerdict] = {}
        self._said: dict[str, dict[str, Said]] = {}  # by key and source
        self._kept = Kept()
        self._statuses: dict[str, BudgetStatus] = {}
        self._kept_statuses: dict[str, int] = {}  # budget -> event time, until the topic has said as much again
        self._late_statuses: dict[str, BudgetStatus] = {}

    def registered(self, registry: Registry) -> None:
        """keys.yaml has changed; the new registry has what records said of keys before."""
        self._registry = registry

    def record(self, record: KeyRecord) -> bool:
        """A key was issued or changed; True when it is news."""
        return self._registry.take(record)

    def judged(self, verdict: GateVerdict, place: Place | None = None) -> None:
        """The next record of the topic. Of an incident's and the provider's own the harder one holds."""
        said = Said(verdict, place)
        if not self._kept.outlasts(said):
            self._hold(said)

    def recalled(self, kept: Iterable[Said], statuses: Iterable[BudgetStatus] = ()) -> None:
        """What was kept over a restart: it holds until a topic says something newer."""
        kept = list(kept)
        self._statuses = {status.budget: status for status in statuses}
        self._kept_statuses = {status.budget: status.at_ms for status in self._statuses.values()}
        self._kept = Kept(kept)
        for said in kept:
            self._hold(said)

    def caught_up(self) -> None:
        """All that topics held at the start is told: from here on each record holds as it comes."""
        for said in self._kept.end():
            self._hold(said)
        self._statuses |= self._late_statuses  # of a broker that lost what it had said before
        self._kept_statuses.clear()
        self._late_statuses.clear()

    def stands(self, status: BudgetStatus) -> None:
        """The next record of the topic. One that is older than what was kept is the topic read again."""
        budget = status.budget
        if status.at_ms < self._kept_statuses.get(budget, status.at_ms):
            self._late_statuses[budget] = status
            return
        self._kept_statuses.pop(budget, None)
        self._late_statuses.pop(budget, None)
        self._statuses[budget] = status

    def verdict(self, key_id: str) -> GateVerdict | None:
        return self._verdicts.get(key_id)

    def said(self) -> Iterator[Said]:
        """The newest verdict of each key and source."""
        return chain.from_iterable(by_source.values() for by_source in self._said.values())

    def records(self) -> Iterable[KeyRecord]:
        return self._registry.records()

    def statuses(self) -> Iterable[BudgetStatus]:
        return self._statuses.values()

    def entry(self, key_id: str) -> KeyRecord | None:
        """All that is known of the key; None for one that is in no registry."""
        return self._registry.entry(key_id)

    def facts(self, key_id: str) -> KeyFacts:
        return self._registry.facts_of(key_id) or STRANGER

    def status(self, budget: str) -> BudgetStatus | None:
        return self._statuses.get(budget)

    def _hold(self, said: Said) -> None:
        by_source = self._said.setdefault(said.verdict.key_id, {})
        by_source[said.verdict.source] = said
        self._verdicts[said.verdict.key_id] = max(by_source.values(), key=lambda each: each.hardness).verdict
