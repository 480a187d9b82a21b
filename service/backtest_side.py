"""One version of the configuration over a history: its incidents, and what it would have cut by itself. Pure.

The history is played as it happened: nothing is cut in it. A cut that would have come is noted with what the incident
had cost until it takes effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from alerting.case import KeyCase
from alerting.loss import excess_usd_per_min
from containment.ladder import CUTS
from containment.providers.base import StepsOf
from controls.labels import Alarm
from schemas.records import Family, Finding, Incident, Severity, Step
from service.config_tree import Folder
from service.replay import all_auto
from streams.decide_core import Decider, Decision, offers

CONTAINMENT_S: Final = 5.0
"""From the order to its effect, as `keyfuse replay` takes it."""


class Cut(NamedTuple):
    """The first automatic cut of an incident."""

    step: Step
    effective_ms: int
    lost_usd: float  # by the incident until then


class Told(NamedTuple):
    """One incident as it ended."""

    incident_id: str
    key_id: str
    opened_ms: int
    last_ms: int  # its last finding
    severity: Severity
    families: tuple[Family, ...]
    why: str
    lost_usd: float
    cut: Cut | None

    @property
    def alarm(self) -> Alarm:
        return Alarm(self.key_id, self.opened_ms, self.families)

    @property
    def lost_with_cut_usd(self) -> float:
        """What it costs when modes are `auto`."""
        return self.lost_usd if self.cut is None else min(self.cut.lost_usd, self.lost_usd)


class Side:
    """Takes findings in the order of each key's time."""

    def __init__(self, folder: Folder, offered: Mapping[str, StepsOf], *, from_ms: int) -> None:
        """Modes are taken as `auto`; findings before `from_ms` are of the time that only teaches."""
        self.folder = folder
        self._from_ms = from_ms
        self._decider = Decider(all_auto(folder.responses), folder.budgets, offers(offered))
        self._cases: dict[str, KeyCase | None] = {}
        self._incidents: dict[str, Incident] = {}
        self._cuts: dict[str, Cut] = {}
        self.findings = 0

    def take(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.at_ms >= self._from_ms:
                self.findings += 1
                self._keep(finding.key_id, self._decider.finding(self._cases.get(finding.key_id), finding))

    def _keep(self, key_id: str, decision: Decision) -> None:
        self._cases[key_id] = decision.case
        incident = decision.case.incident if decision.case else None
        if incident is None:
            return
        self._incidents |= {each.incident_id: each for each in decision.incidents}
        self._incidents[incident.incident_id] = incident
        for command in decision.commands:
            if command.automatic and command.step in CUTS and incident.incident_id not in self._cuts:
                lost = incident.lost_usd + excess_usd_per_min(incident) * CONTAINMENT_S / 60
                effective_ms = command.at_ms + int(CONTAINMENT_S * 1000)
                self._cuts[incident.incident_id] = Cut(command.step, effective_ms, lost)

    def incidents(self) -> list[Told]:
        """By time and key."""
        told = [
            Told(
                incident_id=each.incident_id, key_id=each.key_id, opened_ms=each.opened_at_ms,
                last_ms=each.last_finding_at_ms, severity=each.severity, families=each.families, why=each.headline,
                lost_usd=each.lost_usd, cut=self._cuts.get(each.incident_id),
            )
            for each in self._incidents.values()
        ]  # fmt: skip
        return sorted(told, key=lambda each: (each.opened_ms, each.key_id))
