"""What calls under way have reserved, until they are settled or so old that nobody will."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final, Literal, NamedTuple

from gate.ports import Amount, Rates
from gate.windows import Account, Shape

SettleState = Literal["settled", "already", "late", "unknown"]
_BLOCK: Final = 4096
_REMEMBERED: Final = 20_000  # ids of the ended ones at least, so that a second word is known as one


class Taken(NamedTuple):
    """What was taken for one call, and where."""

    key_id: str
    reserved: Amount
    rates: Rates  # of the model that answers
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
        # The oldest first, in blocks: a table of all of them would stall every call while it grows.
        self._blocks: dict[int, dict[str, Taken]] = {}
        self._count = 0
        self._ended: dict[str, SettleState] = {}
        self._ended_before: dict[str, SettleState] = {}  # dropped in one go: no table ever grows so large as to stall
        self._number = 0

    def __len__(self) -> int:
        return self._count

    def names(self) -> Iterable[str]:
        """The oldest first."""
        return chain.from_iterable(self._blocks.values())

    def open(self, taken: Taken) -> str:
        """Its name."""
        self._number += 1
        name = f"{self._prefix}{self._number:x}"
        self._blocks.setdefault(self._number // _BLOCK, {})[name] = taken
        self._count += 1
        return name

    def end(self, reservation: str) -> Ended:
        """Once `settled`, whatever is said later."""
        taken = self._pop(self._block_of(reservation), reservation)
        if taken is None:
            state = self._ended.get(reservation) or self._ended_before.get(reservation, "unknown")
            return Ended("already" if state == "settled" else state)
        self._remember(reservation, "settled")
        return Ended("settled", taken)

    def expired(self, tick_ms: int) -> list[Taken]:
        """Those that nobody settled in time, each once; they are over now, counted at what was reserved."""
        found: list[Taken] = []
        while self._blocks:
            number, block = next(iter(self._blocks.items()))
            name, taken = next(iter(block.items()))
            if taken.tick_ms + self._hold_ms > tick_ms and self._count <= self._most:
                break
            self._pop(number, name)
            found.append(taken)
            self._remember(name, "late")
        return found

    def _block_of(self, reservation: str) -> int:
        """-1 for a name that is none of ours."""
        try:
            return int(reservation.removeprefix(self._prefix), 16) // _BLOCK
        except ValueError:
            return -1

    def _pop(self, number: int, name: str) -> Taken | None:
        block = self._blocks.get(number)
        taken = block.pop(name, None) if block is not None else None
        if taken is not None:
            self._count -= 1
            if not block:
                del self._blocks[number]
        return taken

    def _remember(self, reservation: str, state: SettleState) -> None:
        if len(self._ended) >= _REMEMBERED:
            self._ended, self._ended_before = {}, self._ended
        self._ended[reservation] = state
