"""Sums of all partitions → where every budget stands. Pure: it goes by what it heard and the time given."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from controls.budget_levels import BudgetMemory, Telling, judge, share_of
from controls.budget_sums import BudgetSums
from controls.budgets import Budgets
from controls.expected import raised
from controls.ledger import Group, Ledger, Spent
from schemas.config.budgets import BudgetConfig
from schemas.exception import PolicyException
from schemas.records import SCOPE_PREFIX, BudgetView, Finding, KeyFacts, stable_id
from schemas.spend import BudgetStatus, SpendSum, SpendSums

FactsOf = Callable[[str], KeyFacts | None]
_PER_PART: Final = 20_000  # open sums in one part of the state
_KEYS_KNOWN: Final = 100_000


class Stand(NamedTuple):
    """What one look at all budgets gave."""

    statuses: tuple[BudgetStatus, ...]
    findings: tuple[Finding, ...]


class BudgetDesk:
    """Hears sums in any order and however often, and knows them by the difference to what it has heard before."""

    def __init__(self, budgets: Budgets, facts_of: FactsOf) -> None:
        self.ledger = Ledger()
        self.memories: dict[str, BudgetMemory] = {}
        self.too_late = 0  # events further back than anything is kept, since somebody cleared it
        self._parts: dict[int, int] = {}  # partition -> its newest part
        self._open: dict[int, dict[tuple[object, ...], SpendSum]] = {}  # partition -> sums of that part
        self.reconfigure(budgets, facts_of)

    def reconfigure(self, budgets: Budgets, facts_of: FactsOf) -> None:
        """Other budgets and owners from now on. What is spent stays with whose it was."""
        self._facts_of, self._budgets = facts_of, budgets
        self._sums = [BudgetSums(budget, self.ledger) for budget in budgets.all()]
        self._groups: dict[tuple[str, str, str, str], Group] = {}

    def hear(self, told: SpendSums) -> None:
        """Take what has grown. Of a part before the partition's newest all is known."""
        grown: dict[tuple[Group, int], Spent] = {}
        for one in told.sums:
            had = self._had(told.partition, one)
            if had is None:
                continue
            more = Spent(one.requests - had[0], one.tokens - had[1], one.cost_nano_usd - had[2])
            name = (self._group(one), one.slot)
            grown[name] = grown.get(name, Spent()) + more
        self._add(grown)

    def begin(self, sums: Iterable[SpendSum]) -> None:
        """What was spent before anything was heard: whole sums, each once."""
        grown: dict[tuple[Group, int], Spent] = {}
        for one in sums:
            name = (self._group(one), one.slot)
            grown[name] = grown.get(name, Spent()) + Spent(*one[6:9])
        self._add(grown)

    def _add(self, grown: Mapping[tuple[Group, int], Spent]) -> None:
        for (group, slot), more in grown.items():
            if self.ledger.add(group, slot, more) is None:
                self.too_late += more.requests

    def stand(self, at_ms: int, exceptions: Sequence[PolicyException] = ()) -> Stand:
        """Where every budget stands, and what is to be told. The same time a second time tells nothing new.

        An exception sets another limit for its time: what is told goes by that.
        """
        self.ledger.forget()
        for day in self.ledger.take_touched():
            for sums in self._sums:
                sums.changed(day)
        statuses, findings = [], []
        for sums in self._sums:
            sums.budget = raised(sums.written, exceptions, at_ms)
            name = sums.budget.name
            judged = judge(sums.budget, sums.reading(at_ms), self.memories.get(name) or BudgetMemory(budget=name))
            self.memories[name] = judged.memory
            statuses.append(judged.status)
            if judged.tellings:
                view = sums.view(judged.status)
                findings += [self._finding(sums.budget, judged.status, view, telling) for telling in judged.tellings]
        return Stand(tuple(statuses), tuple(findings))

    def export(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The head, and the parts of the state that may have changed since the last time."""
        parts = {f"day/{day}": self.ledger.export_day(day) for day in self.ledger.take_changed()}
        opened: dict[int, int] = {}
        for partition, sums in self._open.items():
            rows = [list(one) for one in sums.values()]
            opened[partition] = -(-len(rows) // _PER_PART)
            for at in range(opened[partition]):
                some = orjson.dumps(rows[at * _PER_PART : (at + 1) * _PER_PART])
                parts[f"open/{partition}/{at}"] = zlib.compress(some, 1)
        head = {
            "parts": {str(partition): part for partition, part in self._parts.items()}, "days": self.ledger.days(),
            "open": {str(partition): count for partition, count in opened.items()},
            "memories": [memory.model_dump() for memory in self.memories.values()],
        }  # fmt: skip
        return head, parts

    def restore(self, head: dict[str, Any], part: Callable[[str], bytes]) -> None:
        """Into a fresh desk. ValueError or KeyError when a part is missing or damaged."""
        for day in head["days"]:
            self.ledger.import_day(part(f"day/{day}"))
        self._parts = {int(partition): newest for partition, newest in head["parts"].items()}
        for partition, count in head["open"].items():
            rows = [row for at in range(count) for row in orjson.loads(zlib.decompress(part(f"open/{partition}/{at}")))]
            sums = (SpendSum(*row) for row in rows)
            self._open[int(partition)] = {one[:6]: one for one in sums}
        memories = (BudgetMemory.model_validate(memory) for memory in head["memories"])
        self.memories = {memory.budget: memory for memory in memories}

    def _had(self, partition: int, one: SpendSum) -> tuple[int, int, int] | None:
        """What is known of the sum already; None where this says nothing new."""
        newest = self._parts.get(partition)
        if newest is None or one.part > newest:
            self._parts[partition], self._open[partition] = one.part, {}
        elif one.part < newest:
            return None
        known = self._open[partition].get(one[:6])
        if known is not None and all(had >= now for had, now in zip(known[6:9], one[6:9], strict=True)):
            return None
        self._open[partition][one[:6]] = one
        return (known.requests, known.tokens, known.cost_nano_usd) if known else (0, 0, 0)

    def _group(self, one: SpendSum) -> Group:
        name = one[2:6]
        known = self._groups.get(name)
        if known is None:
            if len(self._groups) >= _KEYS_KNOWN:
                self._groups.clear()
            facts = self._facts_of(one.key_id) or KeyFacts(provider="", team=one.team, app=one.app, env=one.env)
            named = self._budgets.names(one.key_id, facts.formerly)
            known = self._groups[name] = Group(facts.team, facts.app, facts.env, *named)
        return known

    def _finding(self, budget: BudgetConfig, status: BudgetStatus, view: BudgetView, telling: Telling) -> Finding:
        money = view.unit == "usd"
        even = view.limit / max(1.0, (view.until_ms - view.from_ms) / 60_000)
        return Finding(
            finding_id=stable_id("bud", budget.name, status.period, telling.name, status.at_ms),
            at_ms=status.at_ms, key_id=f"{SCOPE_PREFIX}{budget.name}", family="budget", detector=telling.name,
            severity=telling.severity, score=share_of(budget, status.spent_nano_usd, status.spent_tokens),
            certain=False, reason=telling.words,
            evidence={"observed": view.spent, "limit": view.limit, "unit": view.unit, "period": status.period},
            usd_per_min=view.per_hour / 60 if money else 0.0, expected_usd_per_min=even if money else 0.0,
            facts=self._facts(budget), budget=view,
        )  # fmt: skip

    def _facts(self, budget: BudgetConfig) -> KeyFacts:
        """Whose it is, as far as it is one's: by it the route is chosen."""
        own = self._facts_of(budget.keys[0]) if len(budget.keys) == 1 else None
        if own is not None:
            return KeyFacts(provider="", team=own.team, app=own.app, env=own.env)
        return KeyFacts(provider="", team=_one(budget.teams), app=_one(budget.apps), env=_one(budget.envs))


def _one(wanted: Iterable[str]) -> str:
    """The only one, if it is a name and no pattern."""
    names = tuple(wanted)
    return names[0] if len(names) == 1 and not set(names[0]) & set("*?[") else "unknown"
