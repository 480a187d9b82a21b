"""What the gate asks of the planes. Each is pure and answers at once; new settings replace it as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from schemas.call import ALLOW, Call, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts


class Amount(NamedTuple):
    """What one call costs, at most or in the end. Money in nano-USD."""

    requests: int = 1
    tokens: int = 0
    nano_usd: int = 0


UNITS: Final = Amount._fields
"""Of ceilings."""


class Ceiling(Protocol):
    """At most `limit` of `unit` (requests, tokens, nano_usd) of one key in any `window_s`; 86,400: a day of UTC."""

    @property
    def rule(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def window_s(self) -> float: ...
    @property
    def limit(self) -> float: ...


class Rate(NamedTuple):
    """A ceiling of the gate's own."""

    rule: str
    unit: str
    window_s: float
    limit: float


class PolicyPlane(Protocol):
    """What a key may do."""

    def judge(self, call: Call, facts: KeyFacts, entry: KeyRecord | None) -> Ruling: ...

    def ceilings(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> tuple[Ceiling, ...]:
        """The same object for as long as the same holds. One for each unit and window."""


class BudgetPlane(Protocol):
    """Which budgets a key is under, in the order of `budgets.yaml`."""

    def covering(self, key_id: str, facts: KeyFacts) -> Sequence[BudgetConfig]: ...


class Slices(Protocol):
    """What this replica may still let through of each budget with a hard stop.

    `ask` changes nothing that counts; `take` follows in the same breath when every rule of a call said yes, and says of
    which period it took. Each `take` is followed by one `settle` of the same amount and period, when the call is over
    or its reservation expires.
    """

    def ask(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> Ruling: ...

    def take(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> str: ...

    def settle(self, budget: str, period: str, reserved: Amount, used: Amount) -> None: ...


class Reach(Protocol):
    """Whether the broker is reached, and what holds meanwhile if not."""

    def judge(self, facts: KeyFacts) -> Ruling: ...

    def ceilings(self, facts: KeyFacts) -> tuple[Ceiling, ...]: ...

    def waives(self, facts: KeyFacts) -> bool:
        """Slices of budgets cannot be had, and its environment goes on without."""


class Reached:
    """It always is."""

    def judge(self, facts: KeyFacts) -> Ruling:
        return ALLOW

    def ceilings(self, facts: KeyFacts) -> tuple[Ceiling, ...]:
        return ()

    def waives(self, facts: KeyFacts) -> bool:
        return False


Rates = tuple[float, float]
"""Nano-USD of one input and of one output token."""
Prices = Callable[[str, str, int], Rates | None]
"""By provider, model and time; None for a model that the table does not know."""
