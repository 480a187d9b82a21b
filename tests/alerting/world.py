"""Messages about one key, as the tests of alerting speak of them. Times are seconds after T0."""

from __future__ import annotations

from typing import Any

from alerting.case import KeyCase
from alerting.incidents import Change, on_finding
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.records import (
    Command,
    Finding,
    Incident,
    IncidentStep,
    KeyFacts,
    Outcome,
    Request,
    Scaled,
    Sketch,
    Step,
    StepState,
)

T0_MS = 1_795_428_000_000
KEY = "fp1:0123456789abcdef"
FACTS = KeyFacts(provider="openai", team="search", app="ranker", env="prod")
RESPONSES = ResponsesConfig()
BUDGETS = BudgetsConfig()
WORDS = {
    "velocity": "Spends $3.00/min, normally $0.10: seen on one of 10^9 healthy keys.",
    "economics": "Pays $0.40 per request, normally $0.01.",
    "policy": "Uses gpt-5-pro, which policy `cheap-only` forbids.",
}


def ms(at_s: float) -> int:
    return T0_MS + int(at_s * 1000)


def finding(at_s: float = 0, family: str = "velocity", **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "finding_id": f"fnd_{family}_{at_s}", "at_ms": ms(at_s), "key_id": KEY, "family": family,
        "detector": f"{family}_1m", "severity": "warning", "score": 6.0, "certain": family in ("policy", "budget"),
        "reason": WORDS.get(family, f"{family} is unusual."), "evidence": {}, "usd_per_min": 3.0,
        "expected_usd_per_min": 0.1, "facts": FACTS,
    }  # fmt: skip
    return Finding(**(values | changes))


def command(step: Step = "disable", at_s: float = 1, **changes: Any) -> Command:
    values: dict[str, Any] = {
        "command_id": Command.id_of("inc_1", KEY, step), "at_ms": ms(at_s), "incident_id": "inc_1", "key_id": KEY,
        "step": step, "automatic": True, "reversible": step != "revoke", "mode": "auto", "by": "keyfuse",
        "reason": "two families agree", "facts": FACTS,
    }  # fmt: skip
    return Command(**(values | changes))


def outcome(step: Step = "disable", state: StepState = StepState.CONFIRMED, at_s: float = 5, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "command_id": Command.id_of("inc_1", KEY, step), "incident_id": "inc_1", "key_id": KEY, "step": step,
        "state": state, "at_ms": ms(at_s),
    }  # fmt: skip
    return Outcome(**(values | changes))


def request(action: str, at_s: float = 60, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "request_id": f"req_{action}_{at_s}", "at_ms": ms(at_s), "by": "ada", "action": action, "key_id": KEY,
    }  # fmt: skip
    return Request(**(values | changes))


def found(case: KeyCase | None, one: Finding) -> Change:
    return on_finding(case, one, responses=RESPONSES, budgets=BUDGETS)


def only(change: Change) -> Incident:
    """The one version a change told."""
    (incident,) = change.incidents
    return incident


def incident(**changes: Any) -> Incident:
    """An open incident, as the channels get it."""
    values: dict[str, Any] = {
        "incident_id": "inc_1", "seq": 1, "key_id": KEY, "state": "open", "severity": "critical",
        "families": ("velocity", "economics"), "headline": WORDS["velocity"],
        "reasons": {name: WORDS[name] for name in ("velocity", "economics")}, "opened_at_ms": ms(0),
        "updated_at_ms": ms(0), "last_finding_at_ms": ms(0), "findings": 2, "usd_per_min": 3.0,
        "expected_usd_per_min": 0.1, "lost_usd": 2.9, "acceptable_loss_usd": 100.0, "mode": "auto", "facts": FACTS,
        "transition": "Opened as critical.",
    }  # fmt: skip
    return Incident(**(values | changes))


def sketched(**changes: Any) -> Sketch:
    """A day of a key at a modest level, with a burst in its last three minutes, a minute and a half after T0."""
    values: dict[str, Any] = {
        "at_ms": ms(95), "minutes": Scaled.of([0.5] * 57 + [9.0, 30.0, 18.0]), "tens": Scaled.of([0.4] * 143 + [6.0]),
        "by_hour": Scaled.of([0.3] * 24), "peak_1m": 2.5, "peak_10m": 1.5, "windows": 500,
        "changed": ("new network 203.0.113.0/24", "new model gpt-5-pro, 96 % of spend"),
    }  # fmt: skip
    return Sketch(**(values | changes))


def shown_step(step: Step = "disable", state: StepState = StepState.CONFIRMED, **changes: Any) -> IncidentStep:
    values: dict[str, Any] = {
        "step": step, "command_id": f"cmd_{step}", "state": state, "automatic": True, "reversible": step != "revoke",
        "at_ms": ms(5), "by": "keyfuse",
    }  # fmt: skip
    return IncidentStep(**(values | changes))
