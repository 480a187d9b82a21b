"""What happened in an incident, in the order of time, and how fast: from its records alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ValidationError

from alerting.steps import CUTS
from alerting.words import STATE_WORDS, STEP_WORDS
from schemas.records import AuditRow, Finding, StepState, rfc3339
from service.evidence_facts import Evidence
from service.evidence_windows import Minute

_PAUSE_MS: Final = 5 * 60_000
"""A theft may pause so long and is still the same."""
_ORDER: Final = ("began", "finding", "provider", "outcome", "incident", "mark", "hold", "command")
"""Of what is told with the same time, the cause comes first."""
_HOLD_WORDS: Final = {
    "hold.place": "legal hold placed", "hold.release": "legal hold released",
    "hold.drop": "what was held and is older than the retention is dropped", "hold.broken": "held events are missing",
}  # fmt: skip
"""What the audit says of holds, but for its daily word that all is kept."""


@dataclass(frozen=True)
class Entry:
    """One moment."""

    at_ms: int
    kind: str  # one of _ORDER
    who: str
    words: str


@dataclass(frozen=True)
class Pace:
    """How fast it went, in seconds; None where the records do not tell."""

    began_ms: int | None  # beginning of the first minute above the normal that led to the first finding
    detect_s: float | None  # from there to the first finding
    open_s: float | None  # from the first finding to the incident
    contain_s: float | None  # from the incident to the first order to cut
    effective_s: float | None  # from that order until the provider was seen to refuse the key


def timeline(evidence: Evidence) -> list[Entry]:
    """Findings once a family, at their first; everything else each time. Oldest first."""
    entries = [*_findings(evidence.findings), *_acts(evidence)]
    began_ms = pace(evidence).began_ms
    if began_ms is not None:
        entries.append(Entry(began_ms, "began", "", "spend first rises above the most that is normal for the key"))
    entries += [Entry(each.updated_at_ms, "incident", each.by, each.transition) for each in evidence.versions]
    for mark in evidence.marks:
        words = f"marked as {mark.verdict}{', withdrawn later' if mark.withdrawn else ''}: {mark.reason}"
        entries.append(Entry(mark.at_ms, "mark", mark.by, words))
    return sorted(entries, key=lambda entry: (entry.at_ms, _ORDER.index(entry.kind)))


def _findings(findings: tuple[Finding, ...]) -> list[Entry]:
    first = {finding.family: finding for finding in reversed(findings)}
    return [Entry(each.at_ms, "finding", family, each.reason) for family, each in first.items()]


def _acts(evidence: Evidence) -> list[Entry]:
    entries, roles = [], _roles(evidence)
    for command in evidence.commands:
        names = [f"{name} ({roles[name]})" if name in roles else name for name in command.approvals]
        approved = f", approved by {' and '.join(names)}" if names else ""
        words = f"{STEP_WORDS[command.step]}: ordered{approved}: {command.reason}"
        entries.append(Entry(command.at_ms, "command", command.by, words))
    for outcome in evidence.outcomes:
        told = f"{STEP_WORDS[outcome.step]}: {STATE_WORDS[outcome.state]}"
        entries.append(Entry(outcome.at_ms, "outcome", "keyfuse", f"{told}: {outcome.detail}".rstrip(": ")))
    for row in rows_of(evidence):
        if row.incident_id != evidence.incident.incident_id:
            continue
        if row.action in _HOLD_WORDS:
            entries.append(Entry(row.at_ms, "hold", row.actor, _hold_words(row)))
        elif "." in row.action and not row.action.startswith("hold."):  # a call to the provider
            words = f"{row.action}: {row.result}: {row.detail.get('answer', '')}".rstrip(": ")
            entries.append(Entry(row.at_ms, "provider", row.actor, words))
    return entries


def _hold_words(row: AuditRow) -> str:
    told = [str(row.detail["reason"])] if "reason" in row.detail else []
    told += [f"{name} {row.detail[name]}" for name in ("events", "missing") if name in row.detail]
    return ": ".join([_HOLD_WORDS[row.action], *([", ".join(told)] if told else [])])


def _roles(evidence: Evidence) -> dict[str, str]:
    """Each person's role in the newest configuration that was in force; empty when none is known."""
    for period in reversed(evidence.configs.periods):
        people = (evidence.configs.versions[period.version].get("people.yaml") or {}).get("people")
        if people:
            return {name: str(person["role"]) for name, person in people.items()}
    return {}


def rows_of(evidence: Evidence) -> Iterator[AuditRow]:
    """The audit's rows that can be read; one that somebody spoilt is still in the archive, as it stands."""
    for link in evidence.audit:
        try:
            yield link.row
        except ValidationError:
            continue


def pace(evidence: Evidence) -> Pace:
    """Where two clocks contradict each other (a step before its cause) nothing is said."""
    opened_ms = evidence.versions[0].opened_at_ms
    first_ms = min((finding.at_ms for finding in evidence.findings if finding.at_ms >= evidence.from_ms), default=None)
    began_ms = began(evidence.minutes, normal_usd(evidence), first_ms) if first_ms is not None else None
    cuts = [command for command in evidence.commands if command.step in CUTS]
    ordered_ms = min((command.at_ms for command in cuts), default=None)
    done = [each for each in evidence.outcomes if each.step in CUTS and each.state is StepState.CONFIRMED]
    first_cut = min(done, key=lambda outcome: outcome.at_ms, default=None)
    effective_s = _between(ordered_ms, first_cut.at_ms) if first_cut else None
    if effective_s is None and first_cut is not None:
        effective_s = first_cut.seconds_to_effective  # the order is in event time, which may be ahead of the wall's
    return Pace(
        began_ms, _between(began_ms, first_ms), _between(first_ms, opened_ms), _between(opened_ms, ordered_ms),
        effective_s,
    )  # fmt: skip


def normal_usd(evidence: Evidence) -> float:
    """The most that the key usually spends within a minute; 0 when that was not known."""
    sketches = [finding.sketch for finding in evidence.findings if finding.sketch is not None]
    if sketches and sketches[0].peak_1m > 0:
        return sketches[0].peak_1m
    return max((finding.expected_usd_per_min for finding in evidence.findings), default=0.0)


def began(minutes: tuple[Minute, ...], normal: float, first_ms: int) -> int | None:
    """The first minute above the normal of those that lead, with short pauses, to the first finding."""
    start: int | None = None
    before_ms = first_ms
    for minute in reversed([each for each in minutes if each.at_ms <= first_ms and each.usd > normal]):
        if before_ms - minute.at_ms > _PAUSE_MS:
            break
        start = before_ms = minute.at_ms
    return start


def _between(from_ms: int | None, until_ms: int | None) -> float | None:
    if from_ms is None or until_ms is None or until_ms < from_ms:
        return None
    return (until_ms - from_ms) / 1000


def as_json(entries: list[Entry]) -> list[dict[str, Any]]:
    """Each with its time in words as well."""
    return [{"at": rfc3339(entry.at_ms), **asdict(entry)} for entry in entries]
