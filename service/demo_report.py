"""The bill of a demo, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerting.message import plain
from schemas.records import AuditRow, Finding, Incident, StepState, rfc3339
from service.demo_watch import Watch
from sources.simulator.keys import SimKey

_CUTS = ("block", "disable", "revoke")


@dataclass
class Bill:
    """What was counted while the demo ran."""

    key: SimKey
    theft_start_ms: int
    thief_usd_per_min: float  # as the scenario has it
    keys: int
    events: int = 0
    warm_up_incidents: int = 0
    theft_start_s: float = 0.0
    first_stolen_s: float | None = None
    stolen_events: int = 0
    lost_usd: float = 0.0
    refused: int = 0
    contained_s: float | None = None
    archived: int = 0
    audit_rows: int = 0

    def stolen(self, event: dict[str, Any], now_s: float) -> None:
        """A call of the thief that the provider served."""
        if self.first_stolen_s is None:
            self.first_stolen_s = now_s
        self.stolen_events += 1
        self.lost_usd += event["cost_usd"]

    def note_cut(self, watch: Watch, now_s: float) -> None:
        """Remember when the cut of the stolen key was first seen to be confirmed."""
        if self.contained_s is None and any(
            outcome.key_id == self.key.key_id and outcome.step in _CUTS and outcome.state is StepState.CONFIRMED
            for outcome in watch.outcomes
        ):
            self.contained_s = now_s

    @property
    def seconds_to_containment(self) -> float | None:
        """From the first stolen call to the verified cut."""
        if self.contained_s is None or self.first_stolen_s is None:
            return None
        return self.contained_s - self.first_stolen_s

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The bill, line by line."""
        seconds = self.seconds_to_containment
        return [
            ("stolen key", f"{self.key.key_id} ({self.key.team}/{self.key.app}, {self.key.env})"),
            ("normal spend of this key", f"{self.key.normal_usd_per_month:,.0f} USD a month"),
            ("seconds to containment, verified", "not contained" if seconds is None else f"{seconds:.1f}"),
            ("USD lost", f"{self.lost_usd:,.2f}"),
            (
                "USD that would have been lost in 24 h",
                f"{self.thief_usd_per_min * 1440:,.0f} (at the thief's {self.thief_usd_per_min:.0f} a minute)",
            ),
            ("calls refused since the cut", f"{self.refused}"),
            ("incidents on other keys in the day before", f"{self.warm_up_incidents}"),
            ("events played, archived", f"{self.events:,}, {self.archived:,}"),
            ("audit rows", f"{self.audit_rows}"),
        ]


def write_report(path: Path, bill: Bill, watch: Watch) -> Path:
    """Markdown: the bill, the story of the stolen key, the message people got."""
    told = watch.of(bill.key.key_id)
    incidents = [record for record in told if isinstance(record, Incident)]
    parts = ["# Keyfuse demo\n", "## The bill\n", "| what | figure |", "|---|---|"]
    parts += [f"| {name} | {value} |" for name, value in bill.lines]
    parts += ["\n## What was found\n"]
    parts += [f"- {rfc3339(f.at_ms)} **{f.family}** ({f.severity}): {f.reason}" for f in told if isinstance(f, Finding)]
    parts += ["\n## What happened\n"]
    parts += [f"- {rfc3339(incident.updated_at_ms)} {incident.state}: {incident.transition}" for incident in incidents]
    if incidents:
        parts += ["\n## The message\n", "```", plain(incidents[-1]), "```"]
    parts += ["\n## Audit\n", "| action | result | detail |", "|---|---|---|"]
    parts += [f"| {row.action} | {row.result} | {_short(row)} |" for row in told if isinstance(row, AuditRow)]
    parts += ["\nRepeat it: `make demo`.\n"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts))
    return path


def _short(row: AuditRow) -> str:
    return "; ".join(f"{name}: {value}" for name, value in row.detail.items() if value not in ("", 0, None))[:200]
