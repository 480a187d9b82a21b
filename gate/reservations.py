"""What calls under way have reserved, until they are settled or so old that nobody will."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from gate.ports import Amount, Rates
from gate.windows import Account, Shape

SettleState = Literal["settled", "already", "late", "unknown"]
_REMEMBERED: Final = 20_000  # ids of the ended ones at least, so that a second word is known as one


class Taken(NamedTuple):
    """What was taken for one call, and where."""

    key_id: str
    reserved: Amount
    rates: Rates | None  # of the model that answers
    budgets: tuple[tuple[str, str], ...]  # (name, period that was taken of)
    account: Account
    shape: Shape  # of the account, then
    at_ms: int  # wall clock
    tick_ms: int  # the clock that never jumps


class Ended(NamedTuple):
    """How a word about a reservation was taken."""

    state: SettleState
    taken: Taken | None = None  # only of `settled`: the caller gives back what was not used


class Reservations:
    """The open ones of one gate.

    Args:
        prefix: Of this replica and start, so that no other ever names the same.
        hold_ms: So long they are open at most.
        most: So many at most; one more and the oldest counts as expired.
    """

    def __init__(self, prefix: str, *, hold_ms: float, most: int = 1_000_000) -> None:
        self._prefix, self._hold_ms, self._most = prefix, hold_ms, most
        self._open: OrderedDict[str, Taken] = OrderedDict()  # in the order they expire
        self._ended: dict[str, SettleState] = {}
        self._ended_before: dict[str, SettleState] = {}  # dropped in one go: no table ever grows so large as to stall
        self._number = 0

    def __len__(self) -> int:
        return len(self._open)

    def names(self) -> Iterable[str]:
        """The oldest first."""
        return self._open.keys()

    def open(self, taken: Taken) -> str:
        """Its name."""
        self._number += 1
        name = f"{self._prefix}{self._number:x}"
        self._open[name] = taken
        return name

    def end(self, reservation: str) -> Ended:
        """Once `settled`, whatever is said later."""
        taken = self._open.pop(reservation, None)
        if taken is None:
            state = self._ended.get(reservation) or self._ended_before.get(reservation, "unknown")
            return Ended("already" if state == "settled" else state)
        self._remember(reservation, "settled")
        return Ended("settled", taken)

    def expired(self, tick_ms: int) -> list[Taken]:
        """Those that nobody settled in time, each once; they are over now, counted at what was reserved."""
        found: list[Taken] = []
        while self._open:
            name, taken = next(iter(self._open.items()))
            if taken.tick_ms + self._hold_ms > tick_ms and len(self._open) <= self._most:
                break
            found.append(self._open.pop(name))
            self._remember(name, "late")
        return found

    def _remember(self, reservation: str, state: SettleState) -> None:
        if len(self._ended) >= _REMEMBERED:
            self._ended, self._ended_before = {}, self._ended
        self._ended[reservation] = state
