"""Slices of a ceiling, lent to gates: what gates ask, what they may use, and what the lender keeps to go on from.

A pot is one ceiling in one unit: the money of a budget, its tokens, or what one key may do within a day. Every count is
cumulative over one period of one pot and one start of one replica (its `boot`): a message that comes twice, late, or
not at all changes nothing that a later one does not say again. Units: whole nano-USD, tokens or requests.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from schemas.records import Record

MEMBERS: Final = "*"
"""The pot that every gate holds a lease of: while it does, it may begin to use the pots that have a `start`."""


class LeaseLine(Record):
    """What a replica says of one pot."""

    pot: str
    period: str  # as the lender named it; empty: it was lent nothing yet
    used: int = 0  # let through: settled, and reserved for calls that are under way
    settled: int = 0  # of it, for calls that are over
    held: int = 0  # the newest lease taken over; it goes by none before
    released: int = 0  # leases up to this one have ended by its own clock
    want: int = 0  # how much room it would like
    need: int = 0  # room less than this is of no use: a call was refused that may take so much


class LeaseAsk(Record):
    """A replica's word to the lender; those with a smaller `seq` are out of date."""

    type: Literal["lease_ask"] = "lease_ask"
    replica: str
    boot: str
    seq: int = Field(ge=1)
    lines: tuple[LeaseLine, ...] = ()

    @property
    def borrower(self) -> str:
        return f"{self.replica}/{self.boot}"


class Lease(Record):
    """So much may be let through in all, by this boot, in this period of this pot, until it ends."""

    type: Literal["lease"] = "lease"
    lender: str
    epoch: int
    replica: str
    boot: str
    pot: str
    period: str
    seq: int  # grows with each lease of this line
    answers: int  # the ask it answers: its time runs from when that was sent
    cap: int  # of all that is used in this period
    for_ms: int
    left: int  # nobody's yet, in the whole pot, after this
    idle: int = 0  # room that gates hold and have not used, this one's with it
    limit: int | None = None  # of the whole pot, as the lender knew it
    claim: int = 0  # the lender's: what the boot may have used at most, by this and earlier leases
    used: int = 0  # the lender's: as told last
    settled: int = 0
    absorbed: int = 0  # the lender's: of it, surely in what was seen of usage

    @property
    def line(self) -> str:
        return f"{self.pot}|{self.period}|{self.replica}/{self.boot}"

    @property
    def name(self) -> str:
        """The record's key in its topic: of each lender its own, so that none overwrites what another one lent."""
        return f"{self.line}|{self.epoch}"


class PotState(Record):
    """What the lender keeps of a period of a pot besides the leases."""

    type: Literal["pot"] = "pot"
    epoch: int
    pot: str
    period: str
    closed: int  # claims of leases that are over and seen
    beyond: int  # of what was seen, more than was ever lent: calls that pass by the gates

    @property
    def name(self) -> str:
        return f"{self.pot}|{self.period}|{self.epoch}"


class LenderTerm(Record):
    """From its `begins` on in the topic only this lender's leases hold, if its epoch is greater than all before.

    At its `ready` all it knows stands in the topic under its epoch: the next lender needs nothing older.
    """

    type: Literal["lender"] = "lender"
    lender: str
    epoch: int
    state: Literal["begins", "ready"]

    @property
    def name(self) -> str:
        return f"lender|{self.epoch}|{self.lender}|{self.state}"


LenderRecord = Annotated[Lease | PotState | LenderTerm, Field(discriminator="type")]
"""Whatever stands in the topic of leases."""
