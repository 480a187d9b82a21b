"""What people and the ladder would have made of findings: alerts at chosen thresholds, incidents, automatic cuts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from alerting.case import KeyCase
from containment.ladder import CUTS
from containment.providers.base import StepSpec
from detectors.calibration import threshold
from detectors.families import CALIBRATED
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.config.detectors import DetectorSettings
from schemas.records import Command, Finding, Outcome, Step, StepState
from streams.decide_core import Decider, Decision

CONTAINMENT_MS: Final = 5000  # from the order to the refused key, as `keyfuse replay` takes it
CLOSED_MS: Final = 1000  # a second is judged when it is over
REFRACTORY_MS: Final = 60_000
_WORSE: Final = 1.0
_DEFAULTS: Final = DetectorSettings()
SHARES: Final[Mapping[str, float]] = {
    family: getattr(_DEFAULTS, family).alarm_per_key_week / _DEFAULTS.velocity.alarm_per_key_week
    for family in CALIBRATED
}
"""Each family's default `alarm_per_key_week` over velocity's: one rate, velocity's, stands for all."""
_OFFERED: Final[Mapping[Step, StepSpec]] = {
    "throttle": StepSpec(True, "key", 1, "The key is slowed."),
    "disable": StepSpec(True, "key", 1, "The key is refused."),
}


def auto_decider() -> Decider:
    """Every key in automatic mode, at a provider that can throttle and disable keys, and undo both."""
    return Decider(ResponsesConfig(mode="auto"), BudgetsConfig(), lambda _key_id, _facts: _OFFERED)


@dataclass
class Bar:
    """Which findings are told: those of calibrated families at rates of false alarms, and all others."""

    alarm_per_key_week: float
    _said: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def tells(self, finding: Finding) -> bool:
        """High enough, and not a repeat of what was told within the last minute unless ten times rarer."""
        if not passes(finding, self.alarm_per_key_week):
            return False
        name = (finding.key_id, f"{finding.family}/{finding.certain}")
        last = self._said.get(name)
        worse = last is not None and finding.score >= (last[1] * 10 if finding.certain else last[1] + _WORSE)
        if last is not None and finding.at_ms - last[0] < REFRACTORY_MS and not worse:
            return False
        self._said[name] = (finding.at_ms, finding.score)
        return True


def passes(finding: Finding, alarm_per_key_week: float) -> bool:
    """Whether the threshold of this rate lets the finding through. What is not calibrated has no such threshold."""
    if finding.certain or finding.family not in SHARES:
        return True
    return finding.score >= threshold(alarm_per_key_week * SHARES[finding.family])


class Said:
    """When the clean run would have alerted, by key, at the thresholds of a rate."""

    def __init__(self, findings: Iterable[Finding], place: Mapping[str, int], alarm_per_key_week: float) -> None:
        self._at_ms: dict[int, list[int]] = {}
        for finding in findings:
            if finding.severity != "info" and passes(finding, alarm_per_key_week):
                self._at_ms.setdefault(place[finding.key_id], []).append(finding.at_ms)

    def within(self, keys: Iterable[int], from_ms: int, until_ms: int) -> bool:
        """Whether one of the keys gave an alert in this time."""
        return any(from_ms <= at_ms < until_ms for key in keys for at_ms in self._at_ms.get(key, ()))


@dataclass
class Watch:
    """One key, from the start of a theft on (or from a quiet moment): its first alert and its first automatic cut."""

    decider: Decider
    bar: Bar | None = None  # None: the findings were made at the very thresholds
    alert_ms: int | None = None  # when a person could know
    cut_ms: int | None = None  # when the provider refuses the key, verified
    families: tuple[str, ...] = ()  # of the incident when it was cut, else when it was last heard of
    first_family: str = ""
    reason: str = ""
    _case: KeyCase | None = None
    _coming: list[Outcome] = field(default_factory=list)

    def hear(self, findings: Sequence[Finding]) -> None:
        """Findings of this key in time order."""
        for finding in findings:
            if self.bar is None or self.bar.tells(finding):
                self._hear(finding)

    def _hear(self, finding: Finding) -> None:
        if self.alert_ms is None and finding.severity != "info":
            self.alert_ms, self.first_family = finding.at_ms + CLOSED_MS, finding.family
            self.reason = finding.reason
        self._catch_up(finding.at_ms)
        was_cut = self.cut_ms is not None
        self._apply(self.decider.finding(self._case, finding))
        if self._case is not None and self._case.incident is not None and not was_cut:
            self.families = tuple(sorted(self._case.incident.families))

    def _apply(self, decision: Decision) -> None:
        self._case = decision.case
        for command in decision.commands:
            if command.automatic:
                self._obey(command)

    def _obey(self, command: Command) -> None:
        at_ms = command.at_ms + CLOSED_MS + CONTAINMENT_MS
        if command.step in CUTS and self.cut_ms is None:
            self.cut_ms = at_ms
        self._coming.append(
            Outcome(
                command_id=command.command_id, incident_id=command.incident_id, key_id=command.key_id,
                step=command.step, state=StepState.CONFIRMED, at_ms=at_ms, attempts=1,
                seconds_to_effective=CONTAINMENT_MS / 1000,
            )
        )  # fmt: skip

    def _catch_up(self, clock_ms: int) -> None:
        while self._coming and self._coming[0].at_ms <= clock_ms:
            outcome = self._coming.pop(0)
            self._apply(self.decider.outcome(self._case, outcome, at_ms=outcome.at_ms))
