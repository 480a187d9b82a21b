"""What the contain stage writes down and tells people. Pure."""

from __future__ import annotations

from typing import Any, Final

from containment.orders import Doubted, Order
from schemas.minting import MintOrder
from schemas.records import AuditRow, Command, Incident, KeyFacts, Outcome, Request, StepState, stable_id
from schemas.redact import redact

INSTALL: Final = "keyfuse"  # the key_id of incidents about Keyfuse itself
_LONGEST: Final = 200  # of what a record claims that nobody believes


def page(words: str, *, now_ms: int) -> Incident:
    """A critical incident about Keyfuse itself: people are called. The same words within ten minutes are the same."""
    return Incident(
        incident_id=stable_id("inc", INSTALL, words, now_ms // 600_000), seq=1, key_id=INSTALL, state="open",
        severity="critical", families=("policy",), headline=words, opened_at_ms=now_ms, updated_at_ms=now_ms,
        last_finding_at_ms=now_ms, findings=1, usd_per_min=0, expected_usd_per_min=0, lost_usd=0,
        acceptable_loss_usd=0, mode="observe", facts=KeyFacts(provider=INSTALL), transition=words,
    )  # fmt: skip


def forgery(doubted: Doubted) -> str:
    """For the people on call: an order that nobody who may has given."""
    return (
        f"An order to contain was not believed ({doubted.rule.replace('_', ' ')}: {doubted.words}) and nothing was "
        "done. Either somebody writes to the topic keyfuse.commands who should not, so look at its access rights and "
        "at the audit; or decide signs with another key than this contain worker knows (commands in keyfuse.yaml)."
    )


def outcome_row(outcome: Outcome, *, now_ms: int) -> AuditRow:
    detail: dict[str, Any] = {"rule": outcome.rule, "words": outcome.detail, "attempts": outcome.attempts}
    return AuditRow(
        audit_id=stable_id("aud", outcome.command_id, outcome.state, outcome.at_ms), at_ms=now_ms, actor="keyfuse",
        action=outcome.step, key_id=outcome.key_id, incident_id=outcome.incident_id, command_id=outcome.command_id,
        result=outcome.state.value, detail=detail,
    )  # fmt: skip


def freeze_row(request: Request, *, now_ms: int) -> AuditRow:
    return AuditRow(
        audit_id=stable_id("aud", request.request_id), at_ms=now_ms, actor=request.by, action=request.action,
        key_id="", incident_id="", command_id="", result="done", detail={"reason": request.reason},
    )  # fmt: skip


def doubt_row(doubted: Doubted, value: bytes, *, now_ms: int) -> AuditRow:
    """The record that was not believed, and what it claimed: in its own words, so redacted and cut short."""
    claim = doubted.claim
    command = claim if isinstance(claim, Command) else None
    action = command.step if command else claim.action if isinstance(claim, Request) else _kind(claim)
    detail = {"rule": doubted.rule, "words": doubted.words, "signed_by": _short(claim.signed_by if claim else "")}
    return AuditRow(
        audit_id=stable_id("aud", "doubt", now_ms, value), at_ms=now_ms, actor=_short(claim.by if claim else "unknown"),
        action=action, key_id=_short(claim.key_id if claim else ""),
        incident_id=_short("" if claim is None or isinstance(claim, MintOrder) else claim.incident_id),
        command_id=_short(command.command_id if command else ""),
        result=StepState.REFUSED.value, detail=detail,
    )  # fmt: skip


def _kind(claim: Order | None) -> str:
    return claim.type if claim is not None else "unreadable"


def _short(text: str) -> str:
    return redact(text)[:_LONGEST]
