"""One pot as a gate keeps it: what it used in each period, and by which lease."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.lease import LeaseLine

_PERIODS_KEPT: Final = 8  # more than the lender keeps: a period that comes back is gone on with
_CALLS_AHEAD: Final = 4
_IDLE: Final = 1e-6  # of what is used in a millisecond


@dataclass
class Account:
    """One period of one pot at this boot."""

    period: str
    settled: int = 0
    open: int = 0  # reserved by calls under way
    held: int = 0  # the newest lease taken over
    cap: int = 0
    until_ms: float = 0.0  # by this replica's clock that never jumps
    released: int = 0
    dirty: bool = False  # something the lender was not told yet

    @property
    def used(self) -> int:
        return self.settled + self.open

    def room(self, mono_ms: float) -> int:
        return max(0, self.cap - self.settled - self.open) if mono_ms < self.until_ms else 0


@dataclass
class Purse:
    """One pot: the account of its present period, and of those before."""

    warm: int  # room to have at hand where nothing is known of its use
    start: int = 0  # so much may be used before any lease; such a pot is lent only while it is in use
    now: Account = field(default_factory=lambda: Account(""))
    past: dict[str, Account] = field(default_factory=dict)
    need: int = 0  # of the largest call refused since the last ask
    largest: int = 0  # of the calls of late
    taken: int = 0  # since the last ask
    pace: float = 0.0  # per millisecond
    left: int | None = None  # nobody's, as the lender said last
    spare: int | None = None  # that, and what gates hold and have not used
    limit: int | None = None  # of the whole pot, then
    lent_ms: float = 0.0  # when the ask was sent that was answered last

    @property
    def want(self) -> int:
        return max(self.need, self.warm) + _CALLS_AHEAD * self.largest

    def idle(self, mono_ms: float) -> bool:
        """Not in use, and the lender knows all of it; only of pots that need not be asked for at first."""
        accounts = (self.now, *self.past.values())
        busy = self.taken or self.need or self.pace >= _IDLE or mono_ms < self.now.until_ms
        return bool(self.start) and not busy and not any(each.dirty or each.open for each in accounts)

    def account(self, period: str) -> Account | None:
        return self.now if self.now.period == period else self.past.get(period)


def leave(purse: Purse) -> None:
    """The present account becomes a past one: nothing more is taken of it."""
    if purse.now.period:
        purse.now.released, purse.now.until_ms, purse.now.dirty = purse.now.held, 0.0, True
        purse.past[purse.now.period] = purse.now
    while len(purse.past) > _PERIODS_KEPT:
        del purse.past[next(iter(purse.past))]


def run_out(account: Account, mono_ms: float) -> None:
    if account.held and mono_ms >= account.until_ms:
        account.released = account.held


def line_of(pot: str, account: Account, *, want: int = 0, need: int = 0) -> LeaseLine:
    return LeaseLine(
        pot=pot, period=account.period, used=account.used, settled=account.settled, held=account.held,
        released=account.released, want=want, need=need,
    )  # fmt: skip
