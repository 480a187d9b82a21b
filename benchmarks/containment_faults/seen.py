"""What is seen of a history while it happens, and what can only be judged at that moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from benchmarks.containment_faults.luck import Luck
from benchmarks.containment_faults.orders import T0_MS, Placed, Plan
from benchmarks.containment_faults.provider import ORDER, FaultyProvider, can_probe
from containment.ladder import CUTS
from schemas.records import DOUBTS, Incident, Outcome, Record, StepState
from streams.contain import ContainStage
from streams.topics import Topic


@dataclass
class Seen:
    """Everything that was told and changed, for `verdicts` to judge; and in `wrong` what was wrong at once."""

    seed: str
    provider: FaultyProvider
    plan: Plan
    luck: Luck
    placed: dict[str, Placed] = field(default_factory=dict)
    judged_s: dict[str, float] = field(default_factory=dict)  # order -> when it was last handed to the stage
    told: dict[str, list[tuple[float, Outcome]]] = field(default_factory=dict)
    pages: list[tuple[float, Incident]] = field(default_factory=list)
    values: dict[bytes, bytes] = field(default_factory=dict)  # the stage's changelog
    wrong: list[str] = field(default_factory=list)
    frozen: bool = False  # by people
    newest_word: int = -1  # place of the newest freeze or unfreeze that was heard
    _ends: dict[str, asyncio.Event] = field(default_factory=dict)
    _newest: dict[str, str] = field(default_factory=dict)  # key_id -> its newest order
    _stage: ContainStage | None = None

    def _heard(self, order: str, at: int, *, before: bool) -> None:
        """Frozen is from when a freeze was heard until the next unfreeze is handed over, whatever the ledger says."""
        if at > self.newest_word and order.startswith("unfreeze" if before else ("freeze", "unfreeze")):
            self.frozen = order.startswith("freeze")
            self.newest_word = self.newest_word if before else at

    def _hear(self, topic: Topic, record: Record) -> None:
        now_s = self._loop().time()
        if isinstance(record, Incident) and topic is Topic.INCIDENTS:
            self.pages.append((now_s, record))
        if not isinstance(record, Outcome) or topic is not Topic.OUTCOMES:
            return
        order = ORDER.get()
        if order == "forged":
            if record.rule not in DOUBTS:
                self.wrong.append(f"a forged record ended {record.state} by {record.rule or 'no rule'}")
            return
        self.told.setdefault(order, []).append((now_s, record))
        if self._newest[record.key_id] == order:
            self._check_truth(order, record)
        self._ends[order].set()

    def _check_truth(self, order: str, outcome: Outcome) -> None:
        """Of the newest order of a key: is it as was told?"""
        if outcome.key_id not in self.provider.refs:
            return
        state, first = self.provider.truth(outcome.key_id), self.provider.past[outcome.key_id][0][1]
        if outcome.rule == "nothing_to_undo" and state != first:
            self.wrong.append(f"{order}: nothing to undo, it was told, while the key is {state}")
        if outcome.state is not StepState.CONFIRMED:
            return
        true = state == first if outcome.step == "restore" else state.holds(outcome.step)
        if not true:
            self.wrong.append(f"{order}: {outcome.step} was told confirmed while the key is {state}")
        if outcome.step in CUTS and can_probe(outcome.key_id) and self.provider.served(outcome.key_id):
            self.wrong.append(f"{order}: {outcome.step} was told confirmed while the key is served")

    def _began(self, order: str) -> float:
        """A change is being asked for; returns when its order was handed over."""
        placed = self.placed.get(order)
        if placed is None:
            self.wrong.append(f"a change for {order or 'nobody'}")
        elif placed.command.automatic and (self.frozen or (self._stage is not None and self._stage.frozen())):
            self.wrong.append(f"{order}: changed by itself while frozen")
        return self.judged_s.get(order, 0.0)

    def now_ms(self) -> int:
        return T0_MS + round(self._loop().time() * 1000)

    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()
