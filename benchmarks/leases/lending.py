"""The lenders of a history, and the log of leases: one lender at a time holds it, or so it believes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from controls.leases import Lender, Out, Pot
from schemas.lease import LeaseAsk, LenderRecord, LenderTerm


class Log:
    """A compacted topic of one partition: all that was written, in order, and the newest of each key."""

    def __init__(self) -> None:
        self.all: list[LenderRecord] = []
        self.newest: dict[str, LenderRecord] = {}

    def write(self, key: str, record: LenderRecord | None) -> None:
        if record is None:
            self.newest.pop(key, None)
        else:
            self.newest[key] = record
            self.all.append(record)

    def epoch(self) -> int:
        return max((record.epoch for record in self.newest.values()), default=0)


class Times(Protocol):
    """What all lenders share."""

    @property
    def lease_ms(self) -> int: ...
    @property
    def reservation_ms(self) -> int: ...
    @property
    def seen_within_ms(self) -> int: ...


class Bank:
    """Who lends now, and those who still believe that they do."""

    def __init__(self, log: Log, times: Times, random: Random, now: Callable[[], int]) -> None:
        self._log, self._times, self._random, self._now = log, times, random, now
        self._number = 0
        self._lenders: list[tuple[Lender, int]] = []  # the newest first, each with the beginning of its own clock
        self._pots: tuple[Pot, ...] = ()
        self._ears: dict[tuple[str, str], float] = {}
        self.down = False

    def take_over(self, *, zombie: bool = False) -> None:
        """Another lender, by what the log holds; the one before may not have noticed."""
        self._number += 1
        name, epoch, began = f"lender{self._number}", self._log.epoch() + 1, self._random.randrange(10**9)
        term = LenderTerm(lender=name, epoch=epoch, state="begins")
        self._log.write(term.name, term)
        lender = Lender(
            name, epoch, lease_ms=self._times.lease_ms, reservation_ms=self._times.reservation_ms,
            seen_within_ms=self._times.seen_within_ms,
        )  # fmt: skip
        taken_over = lender.restore(list(self._log.newest.values()), self._now() + began)
        if self._random.random() < 0.2:  # it dies half way
            self._write(taken_over[: self._random.randrange(len(taken_over))])
            self.take_over(zombie=zombie)
            return
        self._write(taken_over)
        for pot in self._pots:
            lender.stands(pot)
        self._lenders = [(lender, began), *(self._lenders[:1] if zombie else [])]
        self.down = False

    def stop(self) -> None:
        self.down, self._lenders = True, []

    def zombies_end(self) -> None:
        self._lenders = self._lenders[:1]

    def hear(self, ask: LeaseAsk) -> None:
        for lender, began in reversed(self._lenders):  # a zombie's word may well come first
            if len(self._lenders) == 1 or self._random.random() < self._ear(lender, ask.replica):
                self._write(lender.ask(ask, self._now() + began))

    def _ear(self, lender: Lender, replica: str) -> float:
        """While two lend, each may hear another gate well: then neither knows what the other lent."""
        return self._ears.setdefault((lender.name, replica), self._random.choice((0.1, 0.6, 0.9)))

    def stands(self, pots: tuple[Pot, ...], caught_up_ms: int) -> None:
        self._pots = pots
        for lender, began in self._lenders:
            for pot in pots:
                lender.stands(pot)
            lender.caught_up(caught_up_ms + began)
            self._write(lender.tick(self._now() + began))

    def lender(self) -> Lender | None:
        return self._lenders[0][0] if self._lenders else None

    def _write(self, out: Out) -> None:
        for key, record in out:
            self._log.write(key, record)
