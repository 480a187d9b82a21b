"""Orders that can only come from the decide stage: signed by it, and believed here. Pure.

Signed is the record as it stands in the topic, with `signature` empty, in its one canonical form. A field that is added
in a later version is thus covered too, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, NamedTuple, TypeVar

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from schemas.audit_chain import canonical
from schemas.minting import MintOrder
from schemas.records import Command, Doubt, Request
from schemas.signing import Signer, is_signed

Order = Command | Request | MintOrder
T = TypeVar("T", Command, Request, MintOrder, Command | Request)
_ORDER: Final[TypeAdapter[Order]] = TypeAdapter(Annotated[Order, Field(discriminator="type")])
FREEZES: Final = frozenset({"freeze", "unfreeze"})
"""The only requests that are orders themselves; all others become commands before they get here."""


class Doubted(NamedTuple):
    """A record that must not act, and what it claims to be; None when it cannot even be read."""

    rule: Doubt
    words: str
    claim: Order | None


def sign(order: T, signer: Signer, *, now_ms: int) -> T:
    """The order as the contain stage believes it. What somebody else signed is signed anew."""
    said = order.model_copy(update={"signed_at_ms": now_ms, "signed_by": signer.public_key, "signature": ""})
    return said.model_copy(update={"signature": signer.sign(_said(said.to_bytes()))})


def believe(value: bytes, *, public_keys: Collection[str]) -> Order | Doubted:
    """The order of a record, when one of these keys signed it. How old it is, is asked elsewhere: `expired`."""
    claim = _claim(value)
    if claim is None:
        return Doubted("unreadable", f"{len(value)} bytes that are no order this version knows", None)
    if not claim.signature or not claim.signed_by:
        return Doubted("unsigned", "it carries no signature", claim)
    if claim.signed_by not in public_keys:
        who = claim.signed_by[:16]
        return Doubted("unknown_signer", f"{who}... is not one of commands.public_keys in keyfuse.yaml", claim)
    said = _said(value)
    if not is_signed(said, signature=claim.signature, public_key=claim.signed_by):
        return Doubted("bad_signature", "the signature is not of this record: it was changed, or made up", claim)
    order = type(claim).from_bytes(said)  # what was verified is what is read, whatever another parser made of it
    return order.model_copy(update={"signature": claim.signature})


def expired(order: Order, *, now_ms: int, max_age_s: float) -> Doubted | None:
    """An order of yesterday may not be wanted any more, and an old record may be a copy.

    A clock that is ahead makes orders live longer. It must not stop them all, so there is no bound on that side.
    A person's unfreeze may have waited to be signed: it is as old as their word.
    """
    said_ms = min(order.at_ms, order.signed_at_ms) if isinstance(order, Request) else order.signed_at_ms
    age_s = (now_ms - said_ms) / 1000
    if age_s <= max_age_s:
        return None
    dated = "signed" if said_ms == order.signed_at_ms else "said"
    words = f"it was {dated} {age_s:.0f} s ago, more than commands.max_age_s ({max_age_s:g}): order it again if need be"
    return Doubted("expired", words, order)


def _claim(value: bytes) -> Order | None:
    try:
        claim = _ORDER.validate_json(value)
    except ValidationError:
        return None
    return None if isinstance(claim, Request) and claim.action not in FREEZES else claim


def _said(value: bytes) -> bytes:
    """What was signed of a record; empty for what this parser cannot read, though another could."""
    try:
        return canonical(orjson.loads(value) | {"signature": ""})
    except ValueError:
        return b""
