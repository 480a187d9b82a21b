"""A provider's credential on its way: the order that makes it, and the secret sealed to whoever asked for it.

The order is signed like every order to the contain stage (containment/orders.py), which alone holds admin keys. The
secret is sealed before it leaves that process; only the asker's own key opens it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.key_ask import RequestId
from schemas.records import Record
from schemas.redact import redact


class MintOrder(Record):
    """Make one credential."""

    type: Literal["mint"] = "mint"
    request_id: RequestId
    key_id: str  # the name that the key goes by until it is made
    at_ms: int
    by: str  # who stands behind it: the approver, else who asked
    provider: str  # as keyfuse.yaml calls it
    place: str = ""
    name: str  # what the provider calls it; holds the request's id, so that it is found again
    usd_per_day: float | None = None
    expires_ms: int | None = None
    seal_to: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    signed_at_ms: int = 0
    signed_by: str = ""
    signature: str = ""


class Minted(Record):
    """What became of it. Only the contain stage writes these."""

    type: Literal["minted"] = "minted"
    request_id: RequestId
    at_ms: int
    key_id: str = ""  # the fingerprint of the credential; empty: it could not be made
    provider_ref: str = ""
    last4: str = ""
    sealed: Annotated[str, Field(pattern="^[0-9a-f]*$")] = ""
    error: Annotated[str, AfterValidator(redact)] = ""
