"""The borrower: what one gate may still let through of each pot, by the leases it holds. No call waits for an answer.

A lease ends by this replica's clock that never jumps, counted from when the ask was sent that it answers: always before
the lender takes it for ended. Counts are cumulative over a period and a start of the replica, see `schemas/lease.py`.

    ask 7 sent          lease comes                        ends here              and at the lender here
    |-------------------|----------------------------------|----------------------|
    |<------------------- for_ms ------------------------->|
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from gate.purse import Account, Purse, leave, line_of, run_out
from schemas.lease import MEMBERS, Lease, LeaseAsk, LeaseLine, LenderTerm

_ASKS_KEPT: Final = 64
_NEEDY_MS: Final = 250.0
_WANTING_MS: Final = 1000.0


class Room(NamedTuple):
    """What may be taken of a pot."""

    amount: int
    lent: bool  # a lease is in force
    spare: int | None  # in all gates together, as the lender said last; None: nothing was said yet
    limit: int | None = None  # of the whole pot, then


class Borrower:
    """One start of one replica.

    Args:
        replica: Its name, the same after a restart.
        boot: Of this start; no other ever has it, but one that goes on with all this one counted.
    """

    def __init__(self, replica: str, boot: str) -> None:
        self.replica, self.boot = replica, boot
        self.seq = 0
        self.epoch, self.lender = 0, ""
        self.purses: dict[str, Purse] = {MEMBERS: Purse(1)}
        self._sent: dict[int, float] = {}
        self._asked_ms = -1e18
        self._needy = False
        self.lease_ms = 3000.0  # until a lease says how long they are

    def watch(self, pots: Mapping[str, int]) -> None:
        """The pots to have room of at any time, and how much before anything is known of their use."""
        wanted = {MEMBERS: 1, **pots}
        for name in [name for name, purse in self.purses.items() if name not in wanted and not purse.start]:
            del self.purses[name]
        for name, warm in wanted.items():
            purse = self.purses.setdefault(name, Purse(warm))
            purse.warm, purse.start = warm, 0

    def begin(self, pot: str, start: int) -> None:
        """A pot that need not be asked for before its first use; called before each."""
        purse = self.purses.get(pot)
        if purse is None:
            purse = self.purses[pot] = Purse(0)
        purse.start = start
        period = self.purses[MEMBERS].now.period
        if period and purse.account(period) is None:
            leave(purse)
            purse.now = Account(period)

    def room(self, pot: str, mono_ms: float) -> Room:
        purse = self.purses.get(pot)
        if purse is None:
            return Room(0, lent=False, spare=None)
        account = purse.now
        amount, lent = account.room(mono_ms), mono_ms < account.until_ms
        if purse.start:
            members = self.purses[MEMBERS].now
            if mono_ms < members.until_ms and account.period == members.period:
                amount = max(amount, purse.start - account.used)
        return Room(amount, lent, purse.spare, purse.limit)

    def refused(self, pot: str, amount: int) -> None:
        """A call was refused for want of so much room: it is asked for."""
        purse = self.purses.get(pot)
        if purse is not None:
            purse.need = max(purse.need, amount)
            self._needy = True

    def take(self, pot: str, amount: int) -> str:
        """A call is let through; gives back the period that its settling must name."""
        purse = self.purses.get(pot)
        if purse is None:
            purse = self.purses[pot] = Purse(0)
        now = purse.now
        now.open += amount
        now.dirty = True
        purse.taken += amount
        purse.largest = max(purse.largest, amount)
        return now.period

    def settle(self, pot: str, period: str, reserved: int, used: int) -> None:
        """The call is over."""
        purse = self.purses.get(pot)
        account = purse.account(period) if purse else None
        if account is not None:
            account.open -= reserved
            account.settled += used
            account.dirty = True

    def ask(self, mono_ms: float) -> LeaseAsk | None:
        """What to tell the lender now, if it is time."""
        if mono_ms - self._asked_ms < self._pause_ms(mono_ms):
            return None
        elapsed = min(mono_ms - self._asked_ms, self.lease_ms)
        lines: list[LeaseLine] = []
        for pot, purse in list(self.purses.items()):
            if not purse.idle(mono_ms):
                lines += self._lines(pot, purse, elapsed, mono_ms)
            elif purse.account(self.purses[MEMBERS].now.period) is None:
                del self.purses[pot]
        self.seq += 1
        self._asked_ms, self._needy = mono_ms, False
        self._sent[self.seq] = mono_ms
        if len(self._sent) > _ASKS_KEPT:
            del self._sent[next(iter(self._sent))]
        return LeaseAsk(replica=self.replica, boot=self.boot, seq=self.seq, lines=tuple(lines))

    def farewell(self, mono_ms: float) -> LeaseAsk:
        """The last word of a boot that stops: what it used, and that it uses nothing more."""
        for purse in self.purses.values():
            purse.now.until_ms = 0.0
            purse.taken = purse.need = 0
        self._asked_ms = -1e18
        ask = self.ask(mono_ms)
        assert ask is not None  # noqa: S101 - it is always time
        return ask.model_copy(update={"lines": tuple(line.model_copy(update={"want": 0}) for line in ask.lines)})

    def heard(self, record: Lease | LenderTerm) -> bool:
        """One record of the topic, in its order; True when it is a lease taken over."""
        if isinstance(record, LenderTerm):
            if record.state == "begins" and record.epoch > self.epoch:
                self.epoch, self.lender = record.epoch, record.lender
            return False
        mine = (record.replica, record.boot) == (self.replica, self.boot)
        sent_ms = self._sent.get(record.answers)
        if not mine or sent_ms is None or (record.epoch, record.lender) != (self.epoch, self.lender):
            return False
        purse = self.purses.get(record.pot)
        if purse is None:
            return False
        self.lease_ms = float(record.for_ms)
        account = self._turn(purse, record)
        if record.seq <= account.held:
            return False
        account.held, account.cap, account.until_ms = record.seq, record.cap, sent_ms + record.for_ms
        purse.left, purse.spare, purse.lent_ms = record.left, record.left + record.idle, sent_ms
        purse.limit = record.limit
        return True

    def _turn(self, purse: Purse, lease: Lease) -> Account:
        """To the account of the lease's period. One that is not known here goes on where the lender knows it."""
        known = purse.account(lease.period)
        if known is purse.now:
            return known
        if known is None:
            known = Account(lease.period, settled=lease.used)
        elif lease.seq <= known.held:
            return known  # an old lease, come again
        leave(purse)
        purse.past.pop(lease.period, None)
        purse.now = known
        return known

    def _lines(self, pot: str, purse: Purse, elapsed_ms: float, mono_ms: float) -> list[LeaseLine]:
        lines: list[LeaseLine] = []
        for account in list(purse.past.values()):
            run_out(account, mono_ms)
            if account.dirty:
                lines.append(line_of(pot, account))
                account.dirty = account.open > 0
        purse.pace = max(purse.taken / max(elapsed_ms, 1.0), purse.pace / 2)
        want = purse.want + round(2 * purse.pace * self.lease_ms)
        run_out(purse.now, mono_ms)
        lines.append(line_of(pot, purse.now, want=want, need=purse.need))
        purse.now.dirty = purse.now.open > 0
        purse.need, purse.taken, purse.largest = 0, 0, purse.largest - purse.largest // 4
        return lines

    def _pause_ms(self, mono_ms: float) -> float:
        """Soon when calls are refused or room runs short; else three times in a lease."""
        if self._needy:
            scarce = all(
                purse.left is not None and purse.left < purse.need for purse in self.purses.values() if purse.need
            )
            return _WANTING_MS if scarce else _NEEDY_MS
        short = any(purse.taken and 2 * purse.now.room(mono_ms) < purse.want for purse in self.purses.values())
        return min(_WANTING_MS if short else self.lease_ms / 3, self.lease_ms / 3)
