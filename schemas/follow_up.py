"""What is to be done after an incident: by whom, until when, and how one knows that it was done."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.records import Record, stable_id
from schemas.redact import redact

Words = Annotated[str, AfterValidator(redact), Field(max_length=2000)]
FollowUpState = Literal["open", "done", "dropped"]


class FollowUpWord(Record):
    """What somebody says of a follow-up. The same words on the same incident are the same follow-up."""

    type: Literal["follow_up_word"] = "follow_up_word"
    follow_up_id: str
    action: Literal["add", "assign", "done", "drop"]
    at_ms: int  # wall clock
    by: str = Field(min_length=1)
    incident_id: str = ""  # of add
    key_id: str = ""
    words: Words = ""  # of add: what is to be done; else why, or how one knows
    owner: str = ""  # of add and assign: as in people.yaml
    due_ms: int | None = None

    @staticmethod
    def id_of(incident_id: str, words: str) -> str:
        return stable_id("fol", incident_id, words)


class FollowUp(Record):
    """One version; the newest holds, the audit has each change."""

    type: Literal["follow_up"] = "follow_up"
    follow_up_id: str
    seq: int
    at_ms: int
    state: FollowUpState
    incident_id: str
    key_id: str
    words: Words
    owner: str
    due_ms: int | None
    asked_by: str
    asked_at_ms: int
    by: str  # who made this version
    evidence: Words = ""  # of done: how one knows; of dropped: why

    def overdue(self, at_ms: int) -> bool:
        return self.state == "open" and self.due_ms is not None and at_ms > self.due_ms
