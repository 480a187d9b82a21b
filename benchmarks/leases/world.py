"""One history: gates, lenders, a log between them, usage that comes late, and faults; all from one seed, no real clock.

What is true is kept apart from what anybody knows: `Truth` adds up what gates let through, and holds it against the
ceiling at each call.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from benchmarks.leases.lending import Bank, Log
from controls.leases import Pot
from gate.lease import Borrower
from schemas.lease import MEMBERS, LeaseAsk

POT: Final = "budget"
Act = Callable[[], object]
Fault = Callable[["World"], None]
"""Something goes wrong now."""


@dataclass(frozen=True)
class Plan:
    """What kind of history."""

    replicas: int = 3
    trouble_ms: int = 60_000  # so long things go wrong
    calm_ms: int = 60_000  # then not, so that whatever can come back does
    limit: int = 20_000
    largest: int = 400  # of one call
    settles: bool = True  # False: as with requests, a call comes to what was reserved for it
    wakes: bool = True  # a gate that stops may go on as it was: its machine only stood still
    beside: float = 0.0  # share of the traffic that passes by the gates
    start: int = 0  # what a gate may use of it before it asks
    gap_ms: int = 100  # between two calls of a gate
    lease_ms: int = 3000
    reservation_ms: int = 6000
    seen_within_ms: int = 4000


class CeilingPassed(AssertionError):
    """The one thing that must not happen."""


@dataclass
class Truth:
    """What was really let through, by period."""

    limit: int
    through: dict[str, int] = field(default_factory=dict)
    beside: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    refused: int = 0
    refused_last_ms: int = 0
    faults: int = 0

    def let(self, period: str, amount: int) -> None:
        self.through[period] = self.through.get(period, 0) + amount
        self.calls += 1
        if self.through[period] > self.limit:
            raise CeilingPassed(f"{period}: {self.through[period]} of {self.limit}")


@dataclass(eq=False)
class Call:
    """One call, which its gateway finishes whatever becomes of the gate."""

    boot: Borrower
    period: str
    reserved: int
    used: int
    settled: bool


@dataclass
class Replica:
    """A gate: alive or not, with a clock of its own."""

    name: str
    boot: Borrower
    rate: float
    began: float
    alive: bool = True
    dead: bool = False
    cut_until: int = 0  # no message in or out before
    read: int = 0  # of the log
    boots: int = 1
    open: list[Call] = field(default_factory=list)

    def mono(self, now: int) -> float:
        return now * self.rate + self.began


class World:
    """Events in the order of true time."""

    def __init__(self, plan: Plan, seed: int, *, fault: Fault | None) -> None:
        self._fault = fault
        self.plan, self.random, self.now = plan, Random(seed), 0
        self.truth, self.log = Truth(plan.limit), Log()
        self.bank = Bank(self.log, plan, self.random, lambda: self.now)
        self.replicas = [self._replica(number) for number in range(plan.replicas)]
        self._queue: list[tuple[int, int, Act]] = []
        self._number = 0
        self.seen: dict[str, int] = {}
        self._held_back: list[tuple[str, int]] = []  # usage that came while the pipeline stood still
        self.stalled = False  # usage comes in, and nobody counts it
        self._caught_up = 0

    def run(self) -> Truth:
        self._desk()
        self.bank.take_over()
        for replica in self.replicas:
            self._beats(replica)
            self._calls(replica)
        self._every(lambda: 250, self._desk)
        self._every(lambda: self.random.randrange(300, 4000), self._trouble)
        self.at(self.plan.trouble_ms, self._calm)
        while self._queue and self._queue[0][0] <= self.end_ms:
            self.now, _, act = heapq.heappop(self._queue)
            act()
        return self.truth

    def at(self, delay_ms: int, act: Act) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self.now + delay_ms, self._number, act))

    @property
    def end_ms(self) -> int:
        return self.plan.trouble_ms + self.plan.calm_ms

    @property
    def troubled(self) -> bool:
        return self._fault is not None and self.now < self.plan.trouble_ms

    def period(self, at_ms: int) -> str:
        return "first" if at_ms < self.plan.trouble_ms // 2 else "second"

    def _every(self, gap: Callable[[], int], act: Act) -> None:
        def again() -> None:
            act()
            self.at(gap(), again)

        self.at(gap(), again)

    # Gates.

    def _replica(self, number: int) -> Replica:
        pace = 1 + self.random.uniform(-0.004, 0.004)
        return Replica(f"gate-{number}", self.new_boot(f"gate-{number}", 1), pace, self.random.uniform(0, 1e9))

    def restart(self, replica: Replica) -> None:
        """It only stood still, and the same boot goes on; or it was killed: a new one, which knows nothing, begins."""
        if replica.alive or replica.dead:
            return
        replica.alive = True
        if not self.plan.wakes or self.random.random() < 0.3:
            replica.boots += 1
            replica.boot, replica.open, replica.read = self.new_boot(replica.name, replica.boots), [], 0
        if self.random.random() < 0.3:
            replica.read = self.random.randint(0, replica.read)

    def new_boot(self, name: str, number: int) -> Borrower:
        boot = Borrower(name, f"boot{number}")
        boot.watch({} if self.plan.start else {POT: self.plan.limit // 50})
        return boot

    def _beats(self, replica: Replica) -> None:
        self._every(lambda: self.random.randrange(60, 140), lambda: self._beat(replica))

    def _calls(self, replica: Replica) -> None:
        self._every(lambda: self.random.randrange(1, 2 * self.plan.gap_ms), lambda: self._call(replica))

    def _call(self, replica: Replica) -> None:
        amount = self.random.randint(1, self.plan.largest)
        if self.random.random() < self.plan.beside:
            self.truth.beside[self.period(self.now)] = self.truth.beside.get(self.period(self.now), 0) + amount
            self._usage(amount)
            return
        if not replica.alive:
            return
        if self.plan.start:
            replica.boot.begin(POT, self.plan.start)
        if replica.boot.room(POT, replica.mono(self.now)).amount < amount:
            replica.boot.refused(POT, amount)
            self.truth.refused += 1
            self.truth.refused_last_ms = self.now
            return
        period = replica.boot.take(POT, amount)
        self.truth.let(period, amount)
        used = self.random.randint(0, amount) if self.plan.settles else amount
        call = Call(replica.boot, period, amount, used, self.random.random() < 0.9)
        replica.open.append(call)
        self.at(self.random.randrange(self.plan.reservation_ms * 9 // 10), lambda: self._over(replica, call))
        self.at(self.plan.reservation_ms, lambda: self._close(replica, call, call.reserved))

    def _over(self, replica: Replica, call: Call) -> None:
        """The provider has answered."""
        self.truth.through[call.period] -= call.reserved - call.used
        self._usage(call.used)
        if call.settled:
            self._close(replica, call, call.used)

    def _close(self, replica: Replica, call: Call, used: int) -> None:
        """Settled; or nobody settled it in time."""
        if call not in replica.open:
            return
        if not replica.alive:
            self.at(1000, lambda: self._close(replica, call, call.reserved))  # when it goes on
            return
        replica.open.remove(call)
        call.boot.settle(POT, call.period, call.reserved, used)

    def _beat(self, replica: Replica) -> None:
        """Its loop: read what is new in the log, tell the lender what is due."""
        if not replica.alive or self.now < replica.cut_until:
            return
        while replica.read < len(self.log.all):
            record = self.log.all[replica.read]
            replica.read += 1
            if record.type == "pot" or (record.type == "lease" and self.troubled and self.random.random() < 0.1):
                continue
            replica.boot.heard(record)
            if record.type == "lease" and self.troubled and self.random.random() < 0.1:
                again = partial(replica.boot.heard, record)
                self.at(self.random.randrange(5000), again)  # twice, and out of order
        ask = replica.boot.ask(replica.mono(self.now))
        if ask is not None:
            self._send(ask)

    def _send(self, ask: LeaseAsk) -> None:
        def arrive() -> None:
            self.bank.hear(ask)

        luck = self.random.random() if self.troubled else 1.0
        if luck < 0.1:
            return
        self.at(self.random.randrange(5000) if luck < 0.3 else self.random.randrange(5, 40), arrive)
        if luck > 0.9 and self.troubled:
            self.at(self.random.randrange(8000), arrive)

    # Usage.

    def _usage(self, amount: int) -> None:
        period = self.period(self.now)
        self.at(self.random.randrange(self.plan.seen_within_ms), lambda: self._held_back.append((period, amount)))

    def _desk(self) -> None:
        """Sums what came, and says where the budget stands. The period turns with the time of what was seen."""
        if not self.stalled:
            self._caught_up = self.now
            for period, amount in self._held_back:
                self.seen[period] = self.seen.get(period, 0) + amount
            self._held_back.clear()
        period = self.period(self._caught_up)
        pot = Pot(POT, period, self.plan.limit, self.seen.get(period, 0), start=self.plan.start)
        self.bank.stands((Pot(MEMBERS, period, 100), pot), self._caught_up)

    def _trouble(self) -> None:
        if self._fault is not None and self.troubled:
            self._fault(self)

    def go_on(self) -> None:
        self.stalled = False

    def _calm(self) -> None:
        self.go_on()
        self.bank.zombies_end()
        if self.bank.down:
            self.bank.take_over()
        for replica in self.replicas:
            replica.cut_until = 0
            if not replica.alive and not replica.dead:
                self.restart(replica)
