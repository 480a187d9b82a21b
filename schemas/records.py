"""What the stages say to each other. Each is frozen, has one JSON form, and never holds a secret."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Severity = Literal["info", "warning", "critical"]
Mode = Literal["observe", "approve", "auto"]
Family = Literal["velocity", "economics", "mix", "origin", "rhythm", "errors", "drift", "policy", "budget", "cohort"]
Step = Literal["notify", "throttle", "degrade", "block", "disable", "revoke", "restore"]
IncidentState = Literal["open", "acknowledged", "contained", "resolved", "false_positive"]
CERTAIN: Final[frozenset[str]] = frozenset({"policy", "budget"})
CLOSED: Final[frozenset[str]] = frozenset({"resolved", "false_positive"})


def rfc3339(ts_ms: int) -> str:
    """RFC 3339 with milliseconds, always UTC.

    >>> rfc3339(1795428000123)
    '2026-11-23T10:00:00.123Z'
    """
    return datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stable_id(prefix: str, *parts: object) -> str:
    """The same parts give the same id on every machine: what makes a repeated message harmless."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
    return f"{prefix}_{digest[:20]}"


class Record(BaseModel):
    """Base of all: frozen, unknown fields refused, times in milliseconds of event time unless named otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls.model_validate_json(data)


class KeyFacts(Record):
    """What is known of a key besides its use: from the registry where it is written, else from its events."""

    provider: str
    team: str = "unknown"
    app: str = "unknown"
    env: str = "unknown"
    protected: bool = False
    provider_ref: str | None = None  # the provider's own id of the key, needed to act on it


class Finding(Record):
    """One detector's statement about one key in one second of event time."""

    type: Literal["finding"] = "finding"
    finding_id: str
    at_ms: int
    key_id: str
    family: Family
    detector: str
    severity: Severity
    score: float  # -log10 of how often a healthy key shows this in a 10-minute window; certain limits: observed/limit
    certain: bool
    reason: str  # one sentence: observed, expected, how unlikely
    evidence: dict[str, float | str]
    usd_per_min: float  # what the key spends now (1-minute window)
    expected_usd_per_min: float  # what it spends normally
    facts: KeyFacts


class StepState(StrEnum):
    """Where a command stands. It always ends in one of the last five; never in an unknown."""

    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    IN_FLIGHT = "in_flight"
    CONFIRMED = "confirmed"  # read back and probed: the provider refuses the key
    DRY_RUN = "dry_run"  # observe mode: said what it would have done
    REFUSED = "refused"  # by a safety rule, named in `rule`
    IRREVOCABLE = "irrevocable"  # could not be made true: a person is paged
    SUPERSEDED = "superseded"  # undone or no longer wanted before it ran


class IncidentStep(Record):
    """One rung of the ladder as an incident shows it."""

    step: Step
    command_id: str
    state: StepState
    automatic: bool
    reversible: bool
    at_ms: int
    by: str
    detail: str = ""


class Incident(Record):
    """What a person sees. `seq` grows by one with each transition; a channel edits its message to the newest."""

    type: Literal["incident"] = "incident"
    incident_id: str
    seq: int
    key_id: str
    state: IncidentState
    severity: Severity
    families: tuple[Family, ...]
    headline: str  # the strongest finding's sentence
    reasons: dict[str, str] = Field(default_factory=dict)  # family -> its latest sentence
    opened_at_ms: int
    updated_at_ms: int
    last_finding_at_ms: int
    findings: int
    usd_per_min: float
    expected_usd_per_min: float
    lost_usd: float  # spend above normal since the first suspicious second
    acceptable_loss_usd: float
    mode: Mode
    facts: KeyFacts
    steps: tuple[IncidentStep, ...] = ()
    by: str = "keyfuse"  # who made the latest transition
    transition: str  # what just happened, in words: the thread reply


class Command(Record):
    """An order to change the world. Same incident, key and step: same id, same effect once."""

    type: Literal["command"] = "command"
    command_id: str
    at_ms: int
    incident_id: str
    key_id: str
    step: Step
    automatic: bool
    reversible: bool
    mode: Mode
    by: str
    approvals: tuple[str, ...] = ()
    reason: str
    facts: KeyFacts

    @staticmethod
    def id_of(incident_id: str, key_id: str, step: str) -> str:
        return stable_id("cmd", incident_id, key_id, step)


class Outcome(Record):
    """What became of a command. Only the contain stage writes these."""

    type: Literal["outcome"] = "outcome"
    command_id: str
    incident_id: str
    key_id: str
    step: Step
    state: StepState
    at_ms: int  # wall clock of the contain stage
    rule: str = ""  # the safety rule that refused, empty otherwise
    detail: str = ""
    attempts: int = 0
    seconds_to_effective: float | None = None


class Request(Record):
    """What a person asked for: a new record on a topic of its own, never a way back into another stage."""

    type: Literal["request"] = "request"
    request_id: str
    at_ms: int
    by: str
    action: Literal["acknowledge", "resolve", "false_positive", "contain", "approve", "restore", "freeze", "unfreeze"]
    key_id: str = ""  # empty for freeze and unfreeze
    step: Step | None = None
    reason: str = ""
    facts: KeyFacts | None = None  # for a key that has no incident yet


class AuditRow(Record):
    """Append-only: who did what to which key, when, by which rule, with which answer."""

    type: Literal["audit"] = "audit"
    audit_id: str
    at_ms: int
    actor: str
    action: str
    key_id: str
    incident_id: str
    command_id: str
    result: str
    detail: dict[str, Any] = Field(default_factory=dict)


class DeadReason(StrEnum):
    """Why a record could not be taken: a closed list, also a metric label."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    UNKNOWN_FORMAT = "unknown_format"
    INVALID_FIELD = "invalid_field"
    TOO_LARGE = "too_large"
    TOO_MANY_EVENTS = "too_many_events"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    BAD_FRAME = "bad_frame"
    BAD_RECORD = "bad_record"


class DeadLetter(Record):
    """A record that could not be taken: its coordinates and why. Never its content, which may hold a secret."""

    type: Literal["dead_letter"] = "dead_letter"
    topic: str
    partition: int
    offset: int
    index: int  # position of the event within the record, -1 for the record as a whole
    reason: DeadReason
    field: str = ""
    detail: str = ""  # in words, redacted
    bytes: int
    at_ms: int


class PartitionStats(Record):
    """What a score partition holds: for the containment caps, health and `keyfuse keys`."""

    type: Literal["stats"] = "stats"
    partition: int
    at_ms: int  # wall clock
    clock_s: int  # event time, newest second seen
    active_keys: int  # keys with use in the last hour of event time
    known_keys: int
    findings_end: int | None = None  # offset after the newest finding told before clock_s, in the findings' partition
