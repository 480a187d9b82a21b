"""What the stages say to each other. Each is frozen, has one JSON form, and never holds a secret."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.redact import redact

Severity = Literal["info", "warning", "critical"]
Mode = Literal["observe", "approve", "auto"]
Confidence = Literal["low", "medium", "high"]
Family = Literal[
    "velocity",
    "economics",
    "mix",
    "origin",
    "rhythm",
    "errors",
    "drift",
    "repetition",
    "policy",
    "budget",
    "cohort",
    "leak",
    "identity",
]
Step = Literal["notify", "throttle", "degrade", "block", "disable", "revoke", "restore", "switch"]
"""Rungs of the ladder, their undoing, and the switch of a key's users to its backup before a cut."""
IncidentState = Literal["open", "acknowledged", "contained", "resolved", "false_positive"]
CERTAIN: Final[frozenset[str]] = frozenset({"policy", "budget"})
TOLD: Final[frozenset[str]] = frozenset({"leak", "identity"})
"""Families that no detector scores: somebody outside tells them of a key, or the census does. They say nothing of what
it spends, and their times do not move the clock of events."""
EVIDENCE: Final[Mapping[str, frozenset[str]]] = {
    "velocity": frozenset({"volume"}), "drift": frozenset({"volume"}), "rhythm": frozenset({"volume"}),
    "cohort": frozenset({"volume", "price"}), "economics": frozenset({"volume", "price"}), "mix": frozenset({"price"}),
    "origin": frozenset({"place"}), "errors": frozenset({"errors"}),
    "repetition": frozenset({"volume", "content"}), "leak": frozenset({"leak"}),
}  # fmt: skip
"""What each family looks at that is not certain. Families that share something do not support each other: a batch job
shows in velocity, rhythm and drift alike, longer prompts in velocity as well as in the price of a request, and a job
whose requests are all alike in velocity and repetition."""
CENSUS_PREFIX: Final = "census:"
"""Begins the `key_id` of what the census says of many keys and no single one."""
SCOPE_PREFIX: Final = "budget:"
"""Begins the `key_id` of what is said of a budget and no key: `budget:search in production`."""
GATE_PREFIX: Final = "gate:"
"""Begins the `key_id` of what is said of a gate that fell silent."""
OF_NO_KEY: Final = (SCOPE_PREFIX, CENSUS_PREFIX, GATE_PREFIX)
CLOSED: Final[frozenset[str]] = frozenset({"resolved", "false_positive"})
EXPECTED_FAMILIES: Final[tuple[Family, ...]] = ("velocity", "drift", "economics", "rhythm", "repetition", "cohort")
"""What more use than usual is expected to show in, unless the mark or the announcement names others."""
EXPECTED_MAX_MS: Final = 31 * 86_400_000
"""The longest time for which more use than usual may be expected at once."""


def kinds_of_evidence(families: Iterable[str]) -> int:
    """How many of these families say something that none of the others could be the cause of.

    >>> kinds_of_evidence(["velocity", "drift"]), kinds_of_evidence(["velocity", "economics", "mix"])
    (1, 2)
    >>> kinds_of_evidence(["economics", "origin"])
    2
    """
    seen = sorted({EVIDENCE[family] for family in families if family in EVIDENCE}, key=len)
    taken: set[str] = set()
    count = 0
    for kinds in seen:  # the narrow ones first: they exclude least
        if not kinds & taken:
            taken |= kinds
            count += 1
    return count


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
    formerly: tuple[str, ...] = Field(default=(), exclude=True)  # the keys that it took over from; travels nowhere


class Scaled(Record):
    """Numbers in little space: each is a whole multiple of one unit, at most 999 of them."""

    unit: float = 0.0
    counts: tuple[int, ...] = ()  # -1: not known

    @staticmethod
    def of(values: Sequence[float]) -> Scaled:
        """The values to a thousandth of the greatest; a negative one stands for "not known".

        >>> Scaled.of([0.0, 1.5, 3.0, -1.0])
        Scaled(unit=0.003003, counts=(0, 500, 999, -1))
        """
        unit = float(f"{max(values, default=0.0) / 999:.4g}")
        if unit <= 0:
            return Scaled(counts=tuple(-1 if value < 0 else 0 for value in values))
        return Scaled(unit=unit, counts=tuple(-1 if value < 0 else round(value / unit) for value in values))

    @property
    def values(self) -> tuple[float | None, ...]:
        """The numbers again; None where nothing is known."""
        return tuple(None if count < 0 else count * self.unit for count in self.counts)


class Sketch(Record):
    """What a key did lately against its normal, small enough to travel with each finding. In USD per minute."""

    at_ms: int  # when it was drawn; the last value of each series is of the minute, or ten minutes, under way
    minutes: Scaled  # one value a minute, oldest first: the last sixty
    tens: Scaled  # one value for ten minutes, oldest first; up to 138, as far back as is known
    by_hour: Scaled  # 24 values by hour of day, UTC: the most that is normal for it within ten minutes of that hour
    peak_1m: float  # the most that it usually spends within a minute, as USD per minute; 0: no history
    peak_10m: float  # and within ten minutes
    windows: int  # active 10-minute windows in which it was watched before
    changed: tuple[str, ...] = ()  # what is new about it, each in a few words


def _nothing(value: object) -> bool:
    """Left out of the JSON, so that a stage of the version before can still read a record without it."""
    return not value


class BudgetView(Record):
    """Where a budget stands, for people: what its incident shows. Amounts are in `unit`."""

    budget: str
    scope: str  # what it covers, in words
    owner: str = ""
    unit: Literal["usd", "tokens"]
    period: str
    at_ms: int
    from_ms: int
    until_ms: int
    spent: float
    limit: float
    projected: float | None = None  # at the period's end
    per_hour: float = 0.0  # within the last hour
    thresholds: tuple[float, ...] = ()  # percent
    stops: bool = False  # gates refuse calls that would pass it
    used_up: bool = False
    degrade: dict[str, str] = Field(default_factory=dict)  # model -> cheaper model, in force now
    step_s: int = 3600
    steps: Scaled = Scaled()  # spend by step since `from_ms`, oldest first; the last one is under way


class Leak(Record):
    """Where a key was found by somebody who should not have it. All texts are redacted before they come here."""

    source: str  # what was looked at: "github commit", "trufflehog", "slack message"
    url: str = ""
    by: str = ""  # who reports it
    kind: str = ""  # what the reporter calls this sort of key
    confidence: Confidence = "medium"  # the reporter's own; low: a guess by the form, told to people alone
    verified: bool = False  # signed by GitHub or told with a trusted token, and the key is known to be ours
    found_at_ms: int | None = None
    told_at_ms: int  # wall clock

    @property
    def counts(self) -> bool:
        """Whether it is evidence for a cut, and not only a reason to tell people."""
        return self.verified or self.confidence != "low"


class Finding(Record):
    """One detector's statement about one key in one second of event time; or of TOLD, what others say of it."""

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
    sketch: Sketch | None = None
    leak: Leak | None = Field(default=None, exclude_if=_nothing)  # of the family leak alone
    budget: BudgetView | None = Field(default=None, exclude_if=_nothing)  # of a budget, which is no key


class StepState(StrEnum):
    """Where a command stands. It always ends in one of the last six; never in an unknown."""

    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    IN_FLIGHT = "in_flight"
    CONFIRMED = "confirmed"  # read back and probed: the provider refuses the key
    DRY_RUN = "dry_run"  # observe mode: said what it would have done
    REFUSED = "refused"  # by a safety rule, named in `rule`
    IRREVOCABLE = "irrevocable"  # could not be made true: a person is paged
    SUPERSEDED = "superseded"  # undone or no longer wanted before it ran
    REJECTED = "rejected"  # a person said no: not ordered again by itself in this incident


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
    approvals: tuple[str, ...] = Field(default=(), exclude_if=_nothing)  # the people who stand behind it
    people_needed: int = Field(default=0, exclude_if=_nothing)  # before it may run


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
    scores: dict[Family, float] = Field(default_factory=dict)  # family -> the highest score of its findings
    sketch: Sketch | None = None  # of the newest finding that had one
    snoozed_until_ms: int | None = Field(
        default=None, exclude_if=_nothing
    )  # acknowledged until then, or until it gets worse
    # Since when people are asked: it opened again, or turned critical. None: since it opened.
    asked_since_ms: int | None = Field(default=None, exclude_if=_nothing)
    leaks: tuple[Leak, ...] = Field(default=(), exclude_if=_nothing)  # where the key was found, the proved first; a few
    budget: BudgetView | None = Field(
        default=None, exclude_if=_nothing
    )  # of a budget, which is no key: as it stood last

    @property
    def only_told(self) -> bool:
        """Whether no detector is behind it: then nothing is known of the key's use and spend."""
        return bool(self.families) and TOLD.issuperset(self.families)

    @property
    def of_no_key(self) -> bool:
        """Of a budget, a gate, or many keys at once: there is no key to act on."""
        return self.key_id.startswith(OF_NO_KEY)


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
    # Its users are not sent to the key's backup before: they went elsewhere already, or nobody answers for them.
    alone: bool = Field(default=False, exclude_if=_nothing)
    facts: KeyFacts
    signed_at_ms: int = 0  # wall clock of who signed; an order that is too old is not carried out
    signed_by: str = ""  # Ed25519 public key, hexadecimal
    signature: str = ""  # of the whole record with this field empty; see containment/orders.py

    @staticmethod
    def id_of(incident_id: str, key_id: str, step: str) -> str:
        return stable_id("cmd", incident_id, key_id, step)


Doubt = Literal["unreadable", "unsigned", "unknown_signer", "bad_signature", "expired"]
"""Why the contain stage does not believe an order: a closed list, also a metric label."""
DOUBTS: Final[frozenset[str]] = frozenset(get_args(Doubt))


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


PeoplesAction = Literal[
    "acknowledge", "snooze", "expected", "resolve", "false_positive", "contain", "approve", "reject", "restore",
    "freeze", "unfreeze",
]  # fmt: skip
Via = Literal["terminal", "slack", "pagerduty", "api", "identity"]
"""identity: the identity stage, which has judged who may; `by` is then who it was, or keyfuse."""


class Request(Record):
    """What a person asked for: a new record on a topic of its own, never a way back into another stage."""

    type: Literal["request"] = "request"
    request_id: str
    at_ms: int
    by: str
    action: PeoplesAction
    key_id: str = ""  # empty for freeze and unfreeze
    # What they looked at; empty: whatever the key's incident is.
    incident_id: str = Field(default="", exclude_if=_nothing)
    # Where they said it: in Slack and PagerDuty `by` was proved, at the terminal it is a word.
    via: Via = Field(default="terminal", exclude_if=lambda via: via == "terminal")
    until_ms: int | None = Field(default=None, exclude_if=_nothing)  # of snooze and expected: until when
    step: Step | None = None
    reason: Annotated[str, AfterValidator(redact)] = ""  # people paste keys into reasons
    alone: bool = Field(default=False, exclude_if=_nothing)  # as in a Command
    facts: KeyFacts | None = None  # for a key that has no incident yet
    signed_at_ms: int = 0  # these three: of freeze and unfreeze on their way to the contain stage, as in a Command
    signed_by: str = ""
    signature: str = ""


Verdict = Literal["true", "false_positive", "expected"]


class Mark(Record):
    """What a person said of an incident, a key or a cohort. Of several versions of one `mark_id` the newest counts.

    A mark changes thresholds, within bounds and for a time (`detectors/grants.py`), and what is learned only where it
    says that a change is for good: then the key learns it for a day without the caution that alarms have.
    """

    type: Literal["mark"] = "mark"
    mark_id: str
    at_ms: int  # wall clock, when this version was said; a false positive counts from here and fades
    by: str = Field(min_length=1)
    verdict: Verdict
    reason: str = Field(min_length=1)
    scope: Literal["key", "cohort"] = "key"
    key_id: str = Field(min_length=1)  # of a cohort: `env/provider`
    incident_id: str = ""
    families: tuple[Family, ...] = ()  # empty: all; of `expected`: EXPECTED_FAMILIES
    from_ms: int  # the time it speaks of: from the incident's first finding to its last, or when more is expected
    until_ms: int
    times: float = Field(default=10.0, ge=1.1, le=1000)  # `expected` alone: how many times the usual
    for_good: bool = False  # of a false positive: this is how the key is used from now on
    withdrawn: bool = False
    withdrawn_by: str = ""
    withdrawn_because: str = ""

    @staticmethod
    def id_of(incident_id: str, *otherwise: object) -> str:
        """An incident was either a theft or a false alarm, whatever was said last; else the other parts tell apart."""
        return stable_id("mrk", incident_id) if incident_id else stable_id("mrk", "", *otherwise)

    @staticmethod
    def newest(marks: Iterable[Mark]) -> list[Mark]:
        """The newest version of each, in the order of their ids."""
        found: dict[str, Mark] = {}
        for mark in marks:
            if mark.mark_id not in found or mark.at_ms >= found[mark.mark_id].at_ms:
                found[mark.mark_id] = mark
        return [found[mark_id] for mark_id in sorted(found)]

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if self.until_ms < self.from_ms:
            raise ValueError("it ends before it begins")
        if self.verdict == "expected" and self.until_ms - self.from_ms > EXPECTED_MAX_MS:
            raise ValueError("more than 31 days cannot be expected at once")
        if self.scope == "cohort" and self.verdict != "false_positive":
            raise ValueError("of a cohort only false alarms can be marked; announce its expected use in detectors.yaml")
        if self.for_good and (self.verdict, self.scope) != ("false_positive", "key"):
            raise ValueError("only a false alarm of one key can be a change for good")
        return self


TRIAL: Final = "shadow.start"
"""The audit's word for a candidate of the detectors that is heard from now on."""


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
    active_registered_keys: int | None = None  # of the active ones, those in keys.yaml
    findings_end: int | None = None  # offset after the newest finding told before clock_s, in the findings' partition
