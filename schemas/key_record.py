"""What is known of a key over its life: issued, transferred, rotated, revalidated, stopped; each change a version."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from schemas.records import KeyFacts, Record

KeyKind = Literal["registered", "virtual", "provider"]
"""registered: an entry of keys.yaml, whose life goes on in records; virtual: a key of Keyfuse's own, which only gates
take; provider: minted at the provider by the contain stage."""
LifeState = Literal["pending", "active", "throttled", "retiring", "disabled", "retired", "refused"]
"""pending: waits for an approver, not served; throttled: its owner did not answer; retiring: replaced, valid until
`valid_until_ms`; disabled: may come back; retired: replaced or expired and proved to be refused; refused: never was."""
SERVED: frozenset[LifeState] = frozenset({"active", "throttled", "retiring"})
DataClass = Literal["public", "internal", "confidential", "restricted"]


UNMADE: Final = "ask:"
"""How the name of a provider's credential begins until it is made: no event ever carries such a name."""


class KeyRecord(Record):
    """One version of one key; `seq` grows by one with each. The newest holds, all of them are the key's history."""

    type: Literal["key"] = "key"
    key_id: str
    seq: int = Field(ge=0)  # 0: as keys.yaml has it, no change recorded yet
    at_ms: int  # wall clock of the change
    by: str
    change: str  # what happened, in words: a line of the history
    kind: KeyKind
    state: LifeState
    provider: str
    provider_ref: str | None = None
    owner: str = ""  # as in people.yaml
    purpose: str = ""
    team: str = "unknown"
    app: str = "unknown"
    env: str = "unknown"
    scopes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()  # CIDR; empty: from everywhere
    countries: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()  # web origins, as patterns
    data_class: DataClass = "internal"
    protected: bool = False
    backup: str = ""
    created_ms: int | None = None
    expires_ms: int | None = None  # refused from then on; None: never
    rotate_every_days: float | None = None
    rotated_ms: int | None = None  # when its secret was made; None: not known
    revalidated_ms: int | None = None  # when its owner last said that it is needed
    quota_usd_per_day: float | None = None
    quota_requests_per_min: int | None = None
    provider_limit_usd_per_month: float | None = None  # what its provider itself refuses beyond
    approved_by: str = ""
    request_id: str = ""  # of whoever asked for it; the same request makes one key
    replaces: str = ""
    formerly: tuple[str, ...] = ()  # the keys before it in its line, oldest first: what names one of them is for it too
    replaced_by: str = ""
    valid_until_ms: int | None = None  # of a replaced key: the end of the overlap
    rotate_by_ms: int | None = None  # its secret must be changed by then: somebody knows it who should not any more
    rotated_by: str = ""  # of a replaced key: who had it replaced, and stands behind its end
    retire_asked_ms: int | None = None  # of a replaced key: when its refusal was last ordered
    last4: str = ""  # of the secret, so that its owner knows which one it is
    seal_to: str = ""  # of a provider's credential that is not made yet: the public key that it is sealed to

    def facts(self) -> KeyFacts:
        return KeyFacts(
            provider=self.provider, team=self.team, app=self.app, env=self.env, protected=self.protected,
            provider_ref=self.provider_ref, formerly=self.formerly,
        )  # fmt: skip

    def next(self, *, at_ms: int, by: str, change: str, **changes: Any) -> KeyRecord:  # noqa: ANN401 - any field
        """The version after this one: what changed, who did it, and in words what it was."""
        return self.model_copy(update={"seq": self.seq + 1, "at_ms": at_ms, "by": by, "change": change, **changes})

    def served(self, at_ms: int) -> bool:
        """Whether a gate may let the key pass as far as its life goes; verdicts, policies, budgets are asked apart."""
        ends = [end for end in (self.expires_ms, self.valid_until_ms) if end is not None]
        return self.state in SERVED and all(at_ms < end for end in ends)
