"""Records for tests, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from schemas.records import Command, Incident, IncidentStep, KeyFacts, Step, StepState

T0_MS = 1_795_428_000_000


def facts(**changes: Any) -> KeyFacts:
    return KeyFacts(**{"provider": "sandbox", "env": "dev", "team": "search"} | changes)


def incident(*steps: IncidentStep, **changes: Any) -> Incident:
    usual: dict[str, Any] = {
        "incident_id": "inc_1",
        "seq": 1,
        "key_id": "k1",
        "state": "open",
        "severity": "critical",
        "families": ("velocity", "origin"),
        "headline": "ten times the usual spend",
        "opened_at_ms": T0_MS,
        "updated_at_ms": T0_MS,
        "last_finding_at_ms": T0_MS,
        "findings": 2,
        "usd_per_min": 12.4,
        "expected_usd_per_min": 0.4,
        "lost_usd": 4.0,
        "acceptable_loss_usd": 100.0,
        "mode": "auto",
        "facts": facts(),
        "transition": "opened",
    }
    told = usual | {"steps": steps} | changes
    return Incident(**{"scores": dict.fromkeys(told["families"], 6.0)} | told)


def done(step: Step, state: StepState, *, at_ms: int = T0_MS) -> IncidentStep:
    return IncidentStep(
        step=step, command_id="cmd", state=state, automatic=True, reversible=True, at_ms=at_ms, by="keyfuse"
    )


def command(key_id: str = "k1", step: Step = "disable", **changes: Any) -> Command:
    usual: dict[str, Any] = {
        "command_id": Command.id_of("inc_1", key_id, step),
        "at_ms": T0_MS,
        "incident_id": "inc_1",
        "key_id": key_id,
        "step": step,
        "automatic": True,
        "reversible": step != "revoke",
        "mode": "auto",
        "by": "keyfuse",
        "reason": "ten times the usual spend",
        "facts": facts(),
    }
    return Command(**usual | changes)
