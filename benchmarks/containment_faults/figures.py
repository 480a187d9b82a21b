"""What many histories come to: ends, times, effects, and how hard they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from typing import NamedTuple

from benchmarks.containment_faults.history import History
from benchmarks.containment_faults.verdicts import end_of
from schemas.records import StepState


class Told(NamedTuple):
    """One line of a history."""

    at_s: float
    words: str

    def when(self) -> float:
        return self.at_s


@dataclass
class Figures:
    """Sums over histories. Times are of the virtual clock, from the order to the word that it is confirmed."""

    histories: int = 0
    orders: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    happened: int = 0  # irrevocable orders that had changed their key all the same
    effects: Counter[int] = field(default_factory=Counter)  # of a cut: how often it changed its key
    faults: Counter[str] = field(default_factory=Counter)
    confirmed_s: list[float] = field(default_factory=list)
    calm_s: list[float] = field(default_factory=list)  # likewise where the worker never died
    deaths: int = 0
    rereads: int = 0
    forged: int = 0

    def add(self, history: History) -> None:
        self.histories += 1
        self.orders += len(history.placed)
        self.deaths += history.lives - 1
        self.rereads += history.rereads
        self.forged += history.forged
        self.faults += history.provider.faults
        changed = Counter(change.order for change in history.provider.changes)
        for order, placed in history.placed.items():
            end = end_of(history, order)
            if end is None:
                continue
            self.ends[end.state.value] += 1
            if end.rule:
                self.rules[end.rule] += 1
            self.happened += end.state is StepState.IRREVOCABLE and changed[order] > 0
            if placed.command.step != "restore":
                self.effects[changed[order]] += 1
            if end.state is StepState.CONFIRMED:
                self._took(history, order, placed.at_s)

    def _took(self, history: History, order: str, ordered_s: float) -> None:
        told_s = next(at_s for at_s, outcome in history.told[order] if outcome.state is StepState.CONFIRMED)
        self.confirmed_s.append(told_s - ordered_s)
        if history.lives == 1:
            self.calm_s.append(told_s - ordered_s)

    def table(self) -> str:
        rows = [
            ("orders, in histories", f"{self.orders:,} in {self.histories}"),
            *((f"ended {state}", f"{count:,}") for state, count in self.ends.most_common()),
            ("… irrevocable, though it had happened", f"{self.happened:,}"),
            *((f"… refused by {rule}", f"{count:,}") for rule, count in self.rules.most_common()),
            ("effects of a cut: 0, 1, more", _effects(self.effects)),
            ("seconds to confirmed: p50, p99", _percentiles(self.confirmed_s)),
            ("… where the worker never died", _percentiles(self.calm_s)),
            ("deaths and breaks of the worker", f"{self.deaths:,}"),
            ("records read again", f"{self.rereads:,}"),
            ("forged records", f"{self.forged:,}"),
            *((f"fault: {kind}", f"{count:,}") for kind, count in sorted(self.faults.items())),
        ]
        return "\n".join(["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def told_of(history: History) -> Iterator[Told]:
    """The history as it happened, line by line."""
    for order, placed in history.placed.items():
        who = "by itself" if placed.command.automatic else "by a person"
        yield Told(placed.at_s, f"{placed.at_s:9.1f} s  ordered  {order}: {placed.command.step} {who}")
    for change in history.provider.changes:
        words = f"{change.at_s:9.1f} s  changed  {change.ref}: {change.before} to {change.after} for {change.order}"
        yield Told(change.at_s, words)
    for order, outcomes in history.told.items():
        for at_s, outcome in outcomes:
            words = f"{at_s:9.1f} s  ended    {order}: {outcome.state} {outcome.rule} {outcome.detail}"
            yield Told(at_s, words)
    for at_s, page in history.pages:
        yield Told(at_s, f"{at_s:9.1f} s  paged    {page.headline}")


def _effects(effects: Counter[int]) -> str:
    more = sum(count for times, count in effects.items() if times > 1)
    return f"{effects[0]:,}, {effects[1]:,}, {more:,}"


def _percentiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "-"
    cuts = quantiles(seconds, n=100)
    return f"{cuts[49]:.1f}, {cuts[98]:.1f}"
