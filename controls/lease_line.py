"""What one boot of a replica may have used of one period of one pot: the lender's book, a line for each.

Times are of the lender's clock that never jumps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.lease import Lease, LeaseLine

_GRANTS: Final = 8


class Grant(NamedTuple):
    """A lease that may still be in use."""

    seq: int
    cap: int
    until_ms: int  # its user stopped before


class Mark(NamedTuple):
    """So much was settled by then."""

    at_ms: int
    settled: int


@dataclass
class Line:
    """One boot, one period, one pot."""

    replica: str
    boot: str
    pot: str
    period: str
    seq: int = 0
    answers: int = 0  # the ask that was answered last
    grants: list[Grant] = field(default_factory=list)
    used: int = 0
    settled: int = 0
    absorbed: int = 0  # of settled, surely in what was seen
    marks: deque[Mark] = field(default_factory=deque)
    ended_ms: int | None = None  # when it was found without a lease in force

    @property
    def name(self) -> str:
        return f"{self.pot}|{self.period}|{self.replica}/{self.boot}"

    @property
    def claim(self) -> int:
        """What it has used at most, and will until it is lent more."""
        return max(self.used, max((grant.cap for grant in self.grants), default=0))

    @property
    def cap(self) -> int:
        """Of the newest lease that may be in use."""
        return self.grants[-1].cap if self.grants else self.used

    @property
    def unseen(self) -> int:
        """Of the claim, what may be missing in what was seen."""
        return max(0, self.claim - self.absorbed)

    def told(self, word: LeaseLine, now_ms: int, *, mark_every_ms: int) -> None:
        """The newest word of the boot. What it says it will use no more is over."""
        self.used, self.settled = word.used, word.settled
        self.grants = [g for g in self.grants if g.seq >= word.held and g.seq > word.released]
        self.seq = max(self.seq, word.held, word.released)
        if not self.marks or now_ms - self.marks[-1].at_ms >= mark_every_ms:
            self.marks.append(Mark(now_ms, word.settled))

    def restore(self, lease: Lease, until_ms: int) -> None:
        """As another lender left it: the newest lease, and what was claimed by it and those before."""
        self.seq, self.answers = lease.seq, lease.answers
        self.used, self.settled, self.absorbed = lease.used, lease.settled, lease.absorbed
        self.grants = [Grant(lease.seq - 1, lease.claim, until_ms), Grant(lease.seq, lease.cap, until_ms)]

    def lend(self, cap: int, until_ms: int, answers: int) -> None:
        self.seq += 1
        self.answers = answers
        self.grants.append(Grant(self.seq, cap, until_ms))
        if len(self.grants) > _GRANTS:  # a boot that never says what it took over: the two oldest count as one
            first, second = self.grants[:2]
            both = Grant(second.seq, max(first.cap, second.cap), max(first.until_ms, second.until_ms))
            self.grants[:2] = [both]
        self.ended_ms = None

    def over(self, caught_up_ms: int, now_ms: int, *, seen_within_ms: int, reservation_ms: int) -> bool:
        """What usage has shown by now; True when all that the line can have let through is in what was seen."""
        while self.marks and caught_up_ms >= self.marks[0].at_ms + seen_within_ms:
            self.absorbed = max(self.absorbed, self.marks.popleft().settled)
        if any(now_ms < grant.until_ms for grant in self.grants):
            self.ended_ms = None
            return False
        self.ended_ms = now_ms if self.ended_ms is None else self.ended_ms
        return caught_up_ms >= self.ended_ms + reservation_ms + seen_within_ms


@dataclass
class Book:
    """One period of one pot."""

    lines: dict[str, Line] = field(default_factory=dict)  # borrower -> its line
    closed: int = 0
    beyond: int = 0
    written: tuple[int, int] = (0, 0)

    def told(self) -> int:
        return self.closed + sum(line.claim for line in self.lines.values())

    def begun(self, who: str, start: int) -> int:
        """What it may have begun to use unasked, besides what it claims."""
        return max(0, start - (self.lines[who].claim if who in self.lines else 0))

    def unasked(self, members: Iterable[str], start: int) -> int:
        return sum(self.begun(who, start) for who in members)
