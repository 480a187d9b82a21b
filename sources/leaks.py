"""From a leak report to what the stages hear of it: whose key it is, a finding, a row of the audit, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from controls.leaks import leak_words
from schemas.fingerprint import Fingerprinter
from schemas.records import AuditRow, Finding, KeyFacts, Leak, stable_id
from sources.envelope import Refusal
from sources.leak_form import Report, read_reports

Standing = Literal["registered", "in_use", "unsure", "unknown"]
"""`unsure`: not registered, and nobody can be asked whether it is in use."""
Via = Literal["api", "github", "person"]
Registered = Callable[[str], tuple[str, KeyFacts] | None]
"""The registered key of a name: its key_id, and what is written of it."""
Used = Callable[[Sequence[str]], Mapping[str, KeyFacts] | None]
"""Of these key_ids those seen in use, with what is known of each; None when nobody can be asked. May block."""
_LABELS: Final[dict[Standing, str]] = {
    "registered": "true_positive", "in_use": "true_positive", "unknown": "false_positive",
}  # fmt: skip


class Known(NamedTuple):
    """Which key a report speaks of."""

    key_id: str
    standing: Standing
    facts: KeyFacts


@dataclass(frozen=True, slots=True)
class Taken:
    """What a body says, ready to be published and answered. Holds no secret."""

    findings: list[Finding]
    audit: list[AuditRow]
    answers: list[dict[str, Any]]  # for whoever reported: index, key_id, known
    feedback: list[dict[str, str]]  # for GitHub alone, with hashes of the secrets: never published
    standings: list[Standing]
    refused: int = 0  # of a body of GitHub's, what could not be read


class LeakDesk:
    """Takes reports. An unknown key starts nothing; one of which nobody can say is taken for ours."""

    def __init__(
        self, fingerprinter: Fingerprinter, *, registered: Registered, used: Used, now_ms: Callable[[], int]
    ) -> None:
        self._fingerprinter = fingerprinter
        self._registered, self._used, self._now_ms = registered, used, now_ms

    def take(self, body: bytes, *, via: Via, trusted: bool) -> Taken | list[Refusal]:
        """All of the body or what is wrong with it. Of GitHub's body what is right is taken: it may not come again.

        `trusted`: whoever reports is proved. Asks the store, so it may block.
        """
        reports, refusals = read_reports(body, self._fingerprinter, now_ms=self._now_ms(), github=via == "github")
        if refusals and not (via == "github" and reports):
            return refusals
        known = self._identify(reports)
        said = [_proved(report.leak, one, trusted=trusted) for report, one in zip(reports, known, strict=True)]
        pairs = list(zip(known, said, strict=True))
        return Taken(
            findings=[_finding(one, leak, via) for one, leak in pairs if one.standing != "unknown"],
            audit=[_audit_row(one, leak, via) for one, leak in pairs],
            answers=[
                {"index": report.at, "key_id": one.key_id, "known": one.standing}
                for report, one in zip(reports, known, strict=True)
            ],
            feedback=_feedback(reports, known) if via == "github" else [],
            standings=[one.standing for one in known],
            refused=len(refusals),
        )

    def _identify(self, reports: Sequence[Report]) -> list[Known]:
        found = [_first(map(self._registered, report.names)) for report in reports]
        asked = [name for report, one in zip(reports, found, strict=True) if one is None for name in report.names]
        used = self._used(sorted(set(asked))) if asked else {}
        return [
            Known(one[0], "registered", one[1]) if one else _in_use(report.names, used)
            for report, one in zip(reports, found, strict=True)
        ]


def _first(found: Iterable[tuple[str, KeyFacts] | None]) -> tuple[str, KeyFacts] | None:
    return next((one for one in found if one is not None), None)


def _in_use(names: Sequence[str], used: Mapping[str, KeyFacts] | None) -> Known:
    """By the fingerprint where nobody knows the key: a plain hash of a secret is not kept."""
    nothing = KeyFacts(provider="unknown")
    if used is None:
        return Known(names[0], "unsure", nothing)
    name = next((name for name in names if name in used), None)
    return Known(names[0], "unknown", nothing) if name is None else Known(name, "in_use", used[name])


def _proved(leak: Leak, known: Known, *, trusted: bool) -> Leak:
    return leak.model_copy(update={"verified": trusted and known.standing in {"registered", "in_use"}})


def _finding(known: Known, leak: Leak, via: Via) -> Finding:
    """The same key and place give the same id, whenever they are reported; a proof is news."""
    doubt = "; nobody could say whether it is in use, the store is away" if known.standing == "unsure" else ""
    sure = leak.counts and known.standing != "unsure"
    return Finding(
        finding_id=stable_id("fnd", known.key_id, "leak", leak.url or leak.source, leak.verified),
        at_ms=leak.told_at_ms, key_id=known.key_id, family="leak", detector=via,
        severity="critical" if sure else "warning", score=0.0, certain=False,
        reason=f"the key was {leak_words(leak)}{doubt}",
        evidence={"source": leak.source, "url": leak.url, "by": leak.by, "verified": "yes" if leak.verified else "no"},
        usd_per_min=0.0, expected_usd_per_min=0.0, facts=known.facts, leak=leak,
    )  # fmt: skip


def _audit_row(known: Known, leak: Leak, via: Via) -> AuditRow:
    detail = leak.model_dump(mode="json", include={"source", "url", "kind", "confidence", "verified"}) | {"via": via}
    return AuditRow(
        audit_id=stable_id("aud", known.key_id, "leak", leak.url or leak.source, leak.verified, known.standing),
        at_ms=leak.told_at_ms, actor=leak.by or via, action="leak", key_id=known.key_id, incident_id="",
        command_id="", result=known.standing, detail=detail,
    )  # fmt: skip


def _feedback(reports: Sequence[Report], known: Sequence[Known]) -> list[dict[str, str]]:
    """GitHub's form, the secrets hashed; nothing of those on which we can say nothing."""
    return [
        {"token_hash": report.token_hash, "token_type": report.leak.kind, "label": _LABELS[one.standing]}
        for report, one in zip(reports, known, strict=True)
        if one.standing in _LABELS
    ]
