"""An exception: a rule of a policy that a second person lifted for some keys, for a reason and for a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from schemas.records import EXPECTED_MAX_MS, Record, rfc3339
from schemas.redact import redact

ListedKind = Literal["models", "endpoints", "networks", "countries", "origins"]
LimitKind = Literal[
    "max_input_tokens", "max_output_tokens", "requests_per_s", "requests_per_min", "requests_per_day", "tokens_per_s",
    "tokens_per_min", "tokens_per_day", "usd_per_day", "budget_usd", "budget_tokens",
]  # fmt: skip
RuleKind = ListedKind | Literal["hours"] | LimitKind
"""What a rule is about. `models` are both lists of a policy; `usd_per_day` is the quota of a key that was issued;
`budget_usd` and `budget_tokens` are the amounts of a budget."""
LISTED: Final[frozenset[str]] = frozenset(get_args(ListedKind))
LIMITS: Final[frozenset[str]] = frozenset(get_args(LimitKind))
OF_BUDGETS: Final = frozenset({"budget_usd", "budget_tokens"})
ExceptionState = Literal["asked", "active", "refused", "ended"]
LONGEST_MS: Final = EXPECTED_MAX_MS
"""The longest time for which a rule may be lifted at once; so long the detectors can expect something, too."""


class PolicyException(Record):
    """One version of one exception; `seq` grows by one with each. The newest holds, all of them are its history."""

    type: Literal["exception"] = "exception"
    exception_id: str = Field(min_length=1)
    seq: int = Field(default=0, ge=0)
    at_ms: int  # wall clock of this version
    change: str  # what happened, in words
    state: ExceptionState
    rule: RuleKind
    of: str = ""  # the policy, or the budget, whose rule it is; empty: of every policy, and of the key's own entry
    allows: tuple[str, ...] = ()  # of ListedKind: what may be used besides, as patterns or networks
    limit: float | None = Field(default=None, gt=0, le=1e15)  # of LimitKind: the number that holds instead
    keys: tuple[str, ...] = ()  # key_ids; of scopes that are given all must match, as in policies
    teams: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    times: float = Field(default=10.0, ge=1.1, le=1000)  # how many times the usual use detectors expect meanwhile
    from_ms: int  # wall clock
    until_ms: int  # not included; it always ends
    reason: Annotated[str, AfterValidator(redact)] = Field(min_length=1)
    owner: str = Field(min_length=1)  # who answers for it
    by: str = Field(min_length=1)  # who asked for it
    asked_at_ms: int
    approved_by: str = ""  # somebody else
    ended_by: str = ""

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if not self.from_ms < self.until_ms:
            raise ValueError("it ends before it begins")
        if self.until_ms - self.from_ms > LONGEST_MS:
            raise ValueError(f"a rule is lifted for at most {LONGEST_MS // 86_400_000} days at once")
        if self.state == "active" and self.approved_by.lower() in {"", self.by.lower()}:
            raise ValueError("a second person must have approved it")
        if self.rule in LISTED and not self.allows:
            raise ValueError(f"an exception of {self.rule} says which it allows")
        if (self.rule in LIMITS) != (self.limit is not None):
            raise ValueError("an exception of a limit, and no other, says the limit that holds instead")
        if self.rule in OF_BUDGETS and not self.of:
            raise ValueError("an exception of a budget names it")
        if self.rule not in OF_BUDGETS and not (self.keys or self.teams or self.apps or self.envs):
            raise ValueError("it names keys, teams, apps or envs: nothing is lifted for everybody")
        return self

    def holds(self, at_ms: int) -> bool:
        """Whether the rule is lifted at this moment: an exception ends by itself."""
        return self.state == "active" and self.from_ms <= at_ms < self.until_ms

    def shown_state(self, at_ms: int) -> str:
        """Its state in a word, as a report of this moment says it."""
        if self.state == "active" and at_ms >= self.until_ms:
            return "over"
        if self.state == "asked" and at_ms >= self.until_ms:
            return "never approved"
        return "approved, not begun" if self.state == "active" and at_ms < self.from_ms else self.state

    @property
    def scope(self) -> str:
        """Whom it is for, in words."""
        named = (("key", self.keys), ("team", self.teams), ("app", self.apps), ("env", self.envs))
        return " ".join(f"{name}={','.join(values)}" for name, values in named if values) or f"budget={self.of}"

    @property
    def words(self) -> str:
        """What it allows to whom and until when."""
        if self.rule in LISTED:
            what = f"{self.rule} {', '.join(self.allows)}"
        else:
            what = "any hour" if self.limit is None else f"{self.rule} {self.limit:g}"
        return f"{what} for {self.scope} until {rfc3339(self.until_ms)}"

    @staticmethod
    def newest(exceptions: Iterable[PolicyException]) -> list[PolicyException]:
        """The newest version of each, in the order of their ids."""
        found: dict[str, PolicyException] = {}
        for one in exceptions:
            if one.exception_id not in found or one.seq >= found[one.exception_id].seq:
                found[one.exception_id] = one
        return [found[name] for name in sorted(found)]

    @staticmethod
    def as_they_held(exceptions: Iterable[PolicyException]) -> tuple[PolicyException, ...]:
        """For whoever plays the past: the newest version of each; one that is over held until its end.

        Whether it was approved only after its beginning the newest version does not tell: it held from its beginning.
        """
        found = (one._before_its_end() if one.state == "ended" else one for one in PolicyException.newest(exceptions))
        return tuple(one for one in found if one is not None)

    def _before_its_end(self) -> PolicyException | None:
        """None when it never held: nobody approved it, or it ended before its time came."""
        until_ms = min(self.until_ms, self.at_ms)
        if not self.approved_by or until_ms <= self.from_ms:
            return None
        return self.model_copy(update={"state": "active", "until_ms": until_ms})
