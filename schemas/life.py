"""What is asked of a key over its life: a new secret, another owner, that it is still needed; and its owner's leaving.

A secret is never in any of these: whoever asks makes it and sends its fingerprint.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.records import AuditRow, Record, Via, stable_id
from schemas.redact import redact

Words = Annotated[str, AfterValidator(redact)]  # people paste keys into reasons


class LifeAsk(Record):
    """What all of them say: who asks for it, where and when. The same `request_id` has its effect once."""

    request_id: str = Field(min_length=1)
    by: str
    via: Via = "terminal"
    at_ms: int
    reason: Words = ""


class RotateKey(LifeAsk):
    """Another secret takes over from the key's; both are served until the overlap is over."""

    type: Literal["rotate_key"] = "rotate_key"
    key_id: str
    new_key_id: str = ""  # empty: its provider is to make it, sealed to whoever asks
    seal_to: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    last4: str = ""
    overlap_h: Annotated[float, Field(ge=0, le=720)] | None = None  # None: as keys.yaml says


class TransferKey(LifeAsk):
    """Somebody else answers for it from now on."""

    type: Literal["transfer_key"] = "transfer_key"
    key_id: str
    to: str


class PersonLeft(LifeAsk):
    """Somebody has left, or changed their role: others answer for their keys, whose secrets they may still know."""

    type: Literal["person_left"] = "person_left"
    person: str
    to: str = ""  # who takes their keys over; empty: the approvers of each key's team


class RevalidateKey(LifeAsk):
    """It is still needed."""

    type: Literal["revalidate_key"] = "revalidate_key"
    key_id: str


class RefusedByHand(LifeAsk):
    """An old key is refused by somebody's doing, where Keyfuse can neither do nor try it; `reason` says how."""

    type: Literal["refused_by_hand"] = "refused_by_hand"
    key_id: str


class RotationEvidence(Record):
    """One rotation, told whole when its old secret was seen to be refused: a row for auditors."""

    old_key_id: str
    new_key_id: str
    owner: str
    by: str
    rotated_at_ms: int
    due_at_ms: int | None  # by its schedule; None: it had none
    overlap_until_ms: int
    refused_at_ms: int
    proof: str  # what was read back and tried, in the words of who did
    proof_command_id: str

    def row(self) -> AuditRow:
        """In the audit, whose rows are chained and sealed."""
        return AuditRow(
            audit_id=stable_id("aud", "rotation", self.old_key_id, self.new_key_id), at_ms=self.refused_at_ms,
            actor=self.by, action=ROTATION, key_id=self.new_key_id, incident_id="", command_id=self.proof_command_id,
            result="refused_old", detail=self.model_dump(mode="json"),
        )  # fmt: skip


ROTATION = "rotation"
"""The action of its row."""
