"""What this replica knows of keys, and of where budgets stand: the newest of what it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from controls.registry import Registry
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus
from schemas.verdict import HARDNESS, GateVerdict

STRANGER: Final = KeyFacts(provider="unknown")
"""A key that nobody registered."""
Status = Callable[[str], BudgetStatus | None]


class Known:
    """Told by topics and by the folder. A key that was denied stays so until a verdict says otherwise."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._verdicts: dict[str, GateVerdict] = {}
        self._said: dict[str, dict[str, GateVerdict]] = {}  # by key and source
        self._statuses: dict[str, BudgetStatus] = {}

    def registered(self, registry: Registry) -> None:
        """keys.yaml has changed; the new registry has what records said of keys before."""
        self._registry = registry

    def record(self, record: KeyRecord) -> bool:
        """A key was issued or changed; True when it is news."""
        return self._registry.take(record)

    def judged(self, verdict: GateVerdict) -> None:
        """Of an incident's and the provider's own the harder one holds."""
        said = self._said.setdefault(verdict.key_id, {})
        said[verdict.source] = verdict
        self._verdicts[verdict.key_id] = max(said.values(), key=lambda each: HARDNESS.index(each.state))

    def stands(self, status: BudgetStatus) -> None:
        self._statuses[status.budget] = status

    def verdict(self, key_id: str) -> GateVerdict | None:
        return self._verdicts.get(key_id)

    def verdicts(self) -> Iterable[GateVerdict]:
        return self._verdicts.values()

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
