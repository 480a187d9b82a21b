"""What calls under way have reserved, until they are settled or so old that nobody will."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Literal, NamedTuple

from gate.ports import Amount, Rates
from gate.windows import Window

SettleState = Literal["settled", "already", "late", "unknown"]
_REMEMBERED: Final = 100_000  # ids of the ended ones, so that a second word is known as one


class Reservation(NamedTuple):
    """What was taken for one call, and where."""

    reservation: str
    key_id: str
    reserved: Amount
    rates: Rates | None  # of the model that answers, nano-USD per token in and out
    budgets: tuple[str, ...]
    buckets: tuple[tuple[Window, int], ...]  # where in which windows it was added
    expires_ms: float  # of the clock that never jumps


class Ended(NamedTuple):
    """How a word about a reservation was taken."""

    state: SettleState
    open: Reservation | None = None  # only of `settled`: the caller gives back what was not used


class Reservations:
    """The open ones of one gate.

    Args:
        prefix: Of this replica and start, so that no other ever names the same.
        hold_ms: So long they are open at most.
        most: So many at most; one more and the oldest counts as expired.
    """

    def __init__(self, prefix: str, *, hold_ms: float, most: int = 1_000_000) -> None:
        self._prefix, self._hold_ms, self._most = prefix, hold_ms, most
        self._open: OrderedDict[str, Reservation] = OrderedDict()  # in the order they expire
        self._ended: OrderedDict[str, SettleState] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, key_id: str, reserved: Amount, *, rates: Rates | None, budgets: tuple[str, ...],
        buckets: tuple[tuple[Window, int], ...], at_ms: float,
    ) -> Reservation:  # fmt: skip
        self._number += 1
        name = f"{self._prefix}{self._number:x}"
        made = Reservation(name, key_id, reserved, rates, budgets, buckets, at_ms + self._hold_ms)
        self._open[name] = made
        return made

    def end(self, reservation: str) -> Ended:
        """Once `settled`, whatever is said later."""
        found = self._open.pop(reservation, None)
        if found is None:
            state = self._ended.get(reservation, "unknown")
            return Ended("already" if state == "settled" else state)
        self._remember(reservation, "settled")
        return Ended("settled", found)

    def expired(self, at_ms: float) -> list[Reservation]:
        """Those that nobody settled in time, each once; they are over now, counted at what was reserved."""
        found: list[Reservation] = []
        while self._open:
            name = next(iter(self._open))
            if self._open[name].expires_ms > at_ms and len(self._open) <= self._most:
                break
            found.append(self._open.pop(name))
            self._remember(name, "late")
        return found

    def _remember(self, reservation: str, state: SettleState) -> None:
        self._ended[reservation] = state
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
