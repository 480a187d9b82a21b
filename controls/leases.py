"""The lender: slices of a ceiling for gates, so that their sum never passes it whatever gets lost, late or doubled.

What is committed of a pot is counted in two ways, each at least what the gates let through; the smaller one holds.

    by what was seen    spend seen in usage, and of each line what may not be in it yet
    by what was told    claims of all lines of the period, and what was seen beyond them (calls that pass by the gates)

A line's claim is the largest of its leases that may be in use, or what its boot says it used. A lease is out of use
when a later word of the boot says so. One that ended in silence stays a claim: what was used of it is not known. It
returns when usage is seen up to its end and some time more, for then what it let through is in what was seen. That is
safe if, and only if, the usage of a call comes in at most `seen_within_ms` after the call is over.

What gates may begin unasked is kept aside for each member, besides both counts. So one more gate becomes a member only
while that much is left; without that it asks for every pot before it uses it.

Time: the lender's clock that never jumps. A lender that starts takes every lease for just made. No wall clock is read:
which period it is comes with the pot, and how far usage was seen is told by `caught_up`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from controls.lease_line import Book, Line
from schemas.lease import MEMBERS, Lease, LeaseAsk, LeaseLine, LenderRecord, LenderTerm, PotState

_PERIODS_KEPT: Final = 3
_MARKS: Final = 4
"""Times within `seen_within_ms` that a line's settled sum is noted."""
Out = list[tuple[str, Lease | PotState | LenderTerm | None]]
"""What goes to the topic, in this order: (record's key, record; None takes it away)."""


class Pot(NamedTuple):
    """One ceiling, as it stands now."""

    name: str
    period: str  # another name: everything begins anew
    limit: int
    seen: int = 0  # spent within the period, as usage says
    gone: int = 0  # rolling windows: what was seen and has left, since the lender began; else 0
    start: int = 0  # every gate that holds a lease of `MEMBERS` may use so much unasked


class Lender:
    """One at a time holds the topic of leases.

    Args:
        name: Of this start of the lender; no other ever has it.
        epoch: Greater than that of every lender before.
        lease_ms: How long a slice is lent.
        reservation_ms: A call is over after so long at most.
        seen_within_ms: Usage of a call is seen at most so long after it is over.
    """

    def __init__(
        self, name: str, epoch: int, *, lease_ms: int, reservation_ms: int, seen_within_ms: int
    ) -> None:  # fmt: skip
        self.name, self.epoch = name, epoch
        self._lease_ms, self._seen_within_ms = lease_ms, seen_within_ms
        self._kept_ms = lease_ms * 21 // 20 + 1000  # clocks that never jump differ in pace
        self._reservation_ms = reservation_ms
        self._over_ms = reservation_ms + seen_within_ms
        self._pots: dict[str, Pot] = {}
        self._books: dict[str, dict[str, Book]] = {}
        self._heard: dict[str, tuple[int, int]] = {}  # borrower -> its newest ask, and when
        self._caught_up_ms = -(2**62)

    def restore(self, records: Iterable[LenderRecord], now_ms: int) -> Out:
        """All that the topic holds before this lender's `begins`. Gives back what must stand in it before any lease.

        Only what lenders wrote since the newest `ready` counts: another one may still write, and believe it lends.
        """
        known = list(records)
        since = max((each.epoch for each in known if isinstance(each, LenderTerm) and each.state == "ready"), default=0)
        for record in known:
            if isinstance(record, PotState) and record.epoch == since:
                book = self._book(record.pot, record.period)
                book.closed, book.beyond = record.closed, record.beyond
            elif isinstance(record, Lease) and record.epoch == since:
                line = self._line(record.pot, record.period, record.replica, record.boot)
                line.restore(record, now_ms + self._kept_ms)
        ready = LenderTerm(lender=self.name, epoch=self.epoch, state="ready")
        old: Out = [(each.name, None) for each in known if each.epoch < self.epoch]
        return [*self._everything(), (ready.name, ready), *old]

    def stands(self, pot: Pot) -> None:
        """Where a ceiling stands, whenever that changes."""
        self._pots[pot.name] = pot
        periods = self._books.setdefault(pot.name, {})
        periods[pot.period] = periods.pop(pot.period, Book())  # the newest one last
        self._notice(pot)

    def caught_up(self, at_ms: int) -> None:
        """All usage that had come in by then is in what the pots say was seen."""
        self._caught_up_ms = at_ms

    def drop(self, pot: str) -> None:
        """Its budget is no more."""
        self._pots.pop(pot, None)

    def committed(self, name: str) -> int:
        """Of the pot's present period: at least what the gates let through and may still, by what they were lent."""
        pot = self._pots[name]
        book = self._book(name, pot.period)
        by_seen = pot.seen + sum(line.unseen for line in book.lines.values())
        return min(by_seen, book.told() + book.beyond - pot.gone) + self._unasked(pot, book)

    def lent(self, name: str) -> int:
        """Of what is committed, room that gates hold and did not use."""
        book = self._book(name, self._pots[name].period)
        return sum(line.claim - line.used for line in book.lines.values())

    def ask(self, ask: LeaseAsk, now_ms: int) -> Out:
        """A replica's word: what it used is noted, and each pot it names is lent anew. An old word says nothing."""
        seq, _ = self._heard.get(ask.borrower, (0, 0))
        if ask.seq <= seq:
            return []
        self._heard[ask.borrower] = (ask.seq, now_ms)
        out: Out = []
        for word in ask.lines:
            pot = self._pots.get(word.pot)
            if pot is not None and word.pot == MEMBERS and not self._may_join(ask.borrower, pot.limit):
                continue
            self._note(ask, word, now_ms)
            if pot is not None:
                out += self._lend(ask, word, pot, now_ms)
        return out

    def tick(self, now_ms: int) -> Out:
        """From time to time: what was seen meanwhile frees what was only claimed."""
        out: Out = []
        for name, periods in self._books.items():
            for book in periods.values():
                out += self._swept(book, now_ms)
            out += self._forgotten(name, periods)
        self._heard = {who: at for who, at in self._heard.items() if now_ms - at[1] <= self._kept_ms + self._over_ms}
        return out

    def _swept(self, book: Book, now_ms: int) -> Out:
        over = [
            line for line in book.lines.values()
            if line.over(
                self._caught_up_ms, now_ms, seen_within_ms=self._seen_within_ms, reservation_ms=self._reservation_ms
            )
        ]  # fmt: skip
        return [each for line in over for each in self._close(book, line)]

    def _forgotten(self, name: str, periods: dict[str, Book]) -> Out:
        """Periods long past, and those of pots that are no more."""
        kept = _PERIODS_KEPT if name in self._pots else 0
        past = [period for period, book in list(periods.items())[: max(0, len(periods) - kept)] if not book.lines]
        for period in past:
            del periods[period]
        return [(f"{name}|{period}|{self.epoch}", None) for period in past]

    def live(self, now_ms: int) -> int:
        """Replicas heard of within two leases."""
        return sum(now_ms - at_ms <= 2 * self._lease_ms for _, at_ms in self._heard.values())

    def _note(self, ask: LeaseAsk, word: LeaseLine, now_ms: int) -> None:
        """A word about a period that is not known any more says nothing."""
        pot = self._pots.get(word.pot)
        known = self._books.get(word.pot, {}).get(word.period)
        if pot is None or known is None:
            return
        if word.period != pot.period and ask.borrower not in known.lines:
            return
        line = self._line(word.pot, word.period, ask.replica, ask.boot)
        line.told(word, now_ms, mark_every_ms=self._seen_within_ms // _MARKS)
        self._notice(pot)

    def _lend(self, ask: LeaseAsk, word: LeaseLine, pot: Pot, now_ms: int) -> Out:
        """As much as it wants, of what is nobody's yet a part that gets smaller with it."""
        book = self._book(pot.name, pot.period)
        line = self._line(pot.name, pot.period, ask.replica, ask.boot)
        free = pot.limit - self.committed(pot.name)
        own = line.claim - line.used
        part = max(0, free + own) // (2 * max(1, self.live(now_ms)))
        need = word.need if word.need <= free + own else 0
        room = max(0, min(max(part, need), max(word.want, need), free + own))
        line.lend(line.used + room, now_ms + self._kept_ms, ask.seq)
        left = max(0, pot.limit - self.committed(pot.name))
        lease = self._lease(line, left=left, idle=self.lent(pot.name), limit=pot.limit)
        return [*self._state(pot.name, pot.period, book), (lease.name, lease)]

    def _lease(self, line: Line, *, left: int = 0, idle: int = 0, limit: int | None = None) -> Lease:
        return Lease(
            lender=self.name, epoch=self.epoch, replica=line.replica, boot=line.boot, pot=line.pot, period=line.period,
            seq=line.seq, answers=line.answers, cap=line.cap, for_ms=self._lease_ms, left=left, idle=idle,
            limit=limit, claim=line.claim, used=line.used, settled=line.settled, absorbed=line.absorbed,
        )  # fmt: skip

    def _everything(self) -> Out:
        out: Out = []
        for pot, periods in self._books.items():
            for period, book in periods.items():
                out += self._state(pot, period, book)
                leases = [self._lease(line) for line in book.lines.values()]
                out += [(lease.name, lease) for lease in leases]
        return out

    def _close(self, book: Book, line: Line) -> Out:
        who = f"{line.replica}/{line.boot}"
        left = self._left(who, line.period) if line.pot == MEMBERS else []
        book.closed += line.claim
        del book.lines[who]
        return [*left, *self._state(line.pot, line.period, book), (self._lease(line).name, None)]

    def _state(self, pot: str, period: str, book: Book) -> Out:
        """Written before what it makes room for."""
        if (book.closed, book.beyond) == book.written:
            return []
        book.written = (book.closed, book.beyond)
        state = PotState(epoch=self.epoch, pot=pot, period=period, closed=book.closed, beyond=book.beyond)
        return [(state.name, state)]

    def _notice(self, pot: Pot) -> None:
        """More was seen than was ever lent: the rest passed by the gates."""
        book = self._book(pot.name, pot.period)
        book.beyond = max(book.beyond, pot.seen + pot.gone - book.told() - self._unasked(pot, book))

    def _unasked(self, pot: Pot, book: Book) -> int:
        if not pot.start:
            return 0
        return book.unasked(self._members(), pot.start)

    def _members(self) -> set[str]:
        return {who for members in self._books.get(MEMBERS, {}).values() for who in members.lines}

    def _may_join(self, who: str, limit: int) -> bool:
        """While every pot has left what one more gate may begin with: one that does not stand yet may have nothing."""
        members = self._members()
        if who in members:
            return True
        if len(members) >= limit or any(periods for name, periods in self._books.items() if name not in self._pots):
            return False
        return all(
            pot.limit - self.committed(pot.name) >= self._book(pot.name, pot.period).begun(who, pot.start)
            for pot in self._pots.values() if pot.start
        )  # fmt: skip

    def _left(self, who: str, period: str) -> Out:
        """It is no member any more. What it began and never told is in no claim: it stays taken, as silence does."""
        out: Out = []
        for pot in self._pots.values():
            book = self._books[pot.name].get(period)
            if pot.start and book is not None:
                book.closed += book.begun(who, pot.start)
                out += self._state(pot.name, period, book)
        return out

    def _book(self, pot: str, period: str) -> Book:
        return self._books.setdefault(pot, {}).setdefault(period, Book())

    def _line(self, pot: str, period: str, replica: str, boot: str) -> Line:
        lines = self._book(pot, period).lines
        return lines.setdefault(f"{replica}/{boot}", Line(replica, boot, pot, period))
