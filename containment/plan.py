"""What would be done to a key, by whom, and whom else it hits: to be read before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple

from containment.ladder import PRODUCTION, RUNGS, Choice, Go, choose
from containment.providers.base import Scope, StepSpec, reversibility
from schemas.config.responses import ResponsesConfig
from schemas.records import CERTAIN, CLOSED, Incident, IncidentState, KeyFacts, Leak, Mode, Record, Step, StepState

DAY_MIN: Final = 24 * 60
Shares = Callable[[str, str, Step], bool]
"""Whether a step on the first `provider_ref` stops the second as well."""


class Spend(Record):
    """What the key costs now against its usual, in USD per minute, and who says so."""

    source: Literal["incident", "store"]
    usd_per_min: float
    usual_usd_per_min: float

    @property
    def lost_in_a_day_usd(self) -> float:
        """What is lost in 24 hours if nobody does anything and the thief keeps the pace."""
        return max(0.0, self.usd_per_min - self.usual_usd_per_min) * DAY_MIN


class BackupLook(Record):
    """What the key's users go on with when it is cut."""

    key_id: str
    active: Literal["yes", "no", "unknown"]  # as its provider says, where it could be asked
    told_at: tuple[str, ...]  # the places where users are told, besides the gates
    useless_for: tuple[Step, ...]  # steps on the key that stop the backup as well
    why_not: str  # why nobody would be sent to it now; empty when they would


class Rung(Record):
    """One step that the provider has for this key."""

    step: Step
    reversible: bool
    scope: Scope
    typical_s: float
    breaks: str
    people: int  # who must stand behind it when a person orders it
    state: StepState | None  # where it stands in the open incident; None: not ordered
    not_by_itself: str  # why Keyfuse does not choose it; empty when it may
    also_hits: tuple[str, ...]  # other registered keys that stop working


class Plan(Record):
    """The ladder of one key as it stands now."""

    key_id: str
    facts: KeyFacts
    registered: bool
    protected: bool
    mode: Mode
    frozen: bool
    incident_id: str | None
    incident_state: IncidentState | None
    headline: str
    leaks: tuple[Leak, ...]  # where others have found the key, as far as the open incident knows
    rungs: tuple[Rung, ...]  # softest first
    next_step: Step | None
    next_go: Go
    next_reason: str
    spend: Spend | None  # None: nobody could be asked
    lost_in_a_day_usd: float | None
    backup: BackupLook | None = None  # None: none is registered, and the key's users stop with a cut


class Known(NamedTuple):
    """All that is known of the key before the plan is made."""

    key_id: str
    facts: KeyFacts
    registered: bool
    incident: Incident | None  # the newest; closed ones count as none
    spend: Spend | None  # from the store; an open incident knows better
    backup: BackupLook | None = None


def make_plan(
    known: Known,
    *,
    steps: Mapping[Step, StepSpec],
    also_hits: Mapping[Step, tuple[str, ...]],
    config: ResponsesConfig,
    frozen: bool,
    at_ms: int,
) -> Plan:
    """The plan for one key.

    Args:
        known: The key.
        steps: What its provider can do with it.
        also_hits: By step, the other keys that stop working; see `hit_by`.
        config: `responses.yaml`.
        frozen: Nothing runs by itself now.
        at_ms: Now.
    """
    facts, incident = known.facts, known.incident
    if incident is not None and incident.state in CLOSED:
        incident = None
    mode = config.mode_of(known.key_id, facts.env)
    choice = _next(incident, steps=steps, config=config, mode=mode, at_ms=at_ms)
    states = {done.step: done.state for done in incident.steps} if incident else {}
    protected = facts.protected or known.key_id in config.protected_keys
    why = _why_not(steps, config=config, mode=mode, protected=protected)
    spend = _spend(incident) or known.spend
    return Plan(
        key_id=known.key_id, facts=facts, registered=known.registered, protected=protected, mode=mode, frozen=frozen,
        incident_id=incident.incident_id if incident else None, incident_state=incident.state if incident else None,
        headline=incident.headline if incident else "", leaks=incident.leaks if incident else (),
        rungs=tuple(
            Rung(
                step=step, reversible=steps[step].reversible, scope=steps[step].scope, breaks=steps[step].breaks,
                typical_s=steps[step].typical_s, people=people_for(steps[step], facts.env), state=states.get(step),
                not_by_itself=why[step], also_hits=also_hits.get(step, ()),
            )
            for step in RUNGS if step in steps
        ),
        next_step=choice.step, next_go=choice.go, next_reason=choice.reason,
        spend=spend, lost_in_a_day_usd=spend.lost_in_a_day_usd if spend else None, backup=known.backup,
    )  # fmt: skip


def people_for(spec: StepSpec, env: str) -> int:
    """How many people a person's order of this step needs, who orders it among them."""
    return 2 if not spec.reversible and env.strip().lower() in PRODUCTION else 1


def hit_by(
    key_id: str, ref: str, others: Iterable[tuple[str, str]], *, steps: Mapping[Step, StepSpec], shares: Shares
) -> dict[Step, tuple[str, ...]]:
    """By step, which of the provider's other keys (key_id and `provider_ref`) stop working too."""
    rest = sorted((other, other_ref) for other, other_ref in others if other != key_id)
    return {step: tuple(other for other, other_ref in rest if shares(ref, other_ref, step)) for step in steps}


def shares_by_form(steps: Mapping[Step, StepSpec]) -> Shares:
    """Told from the form alone: what is wider than a key stops what has the same first part, or the whole account.

    >>> project = StepSpec(True, "project", 1, ""), StepSpec(False, "key", 1, "")
    >>> shares = shares_by_form(dict(zip(("block", "revoke"), project, strict=True)))
    >>> [shares("proj_a/key_1", other, "block") for other in ("proj_a/key_2", "proj_b/key_1", "proj_ab/key_2")]
    [True, False, False]
    >>> [shares("proj_a/key_1", other, "revoke") for other in ("proj_a/key_2", "proj_a/key_1")]
    [False, True]
    """

    def shares(ref: str, other_ref: str, step: Step) -> bool:
        if step not in steps or steps[step].scope == "key":
            return ref == other_ref
        return steps[step].scope != "project" or ref.split("/", 1)[0] == other_ref.split("/", 1)[0]

    return shares


def _next(
    incident: Incident | None, *, steps: Mapping[Step, StepSpec], config: ResponsesConfig, mode: Mode, at_ms: int
) -> Choice:
    if incident is None:
        return Choice(None, mode, False, False, "no incident is open, so nothing is ordered", "nothing")
    certain = any(family in CERTAIN for family in incident.families)
    offered = reversibility(steps, wider=config.ladder.wider_steps)
    return choose(incident, certain=certain, config=config, offered=offered, at_ms=at_ms)


def _spend(incident: Incident | None) -> Spend | None:
    if incident is None or incident.findings == 0 or incident.only_told:  # people and reports know of no spend
        return None
    return Spend(
        source="incident", usd_per_min=incident.usd_per_min, usual_usd_per_min=incident.expected_usd_per_min
    )  # fmt: skip


def _why_not(
    steps: Mapping[Step, StepSpec], *, config: ResponsesConfig, mode: Mode, protected: bool
) -> dict[Step, str]:
    """By step, why Keyfuse does not choose it; empty words where it may."""
    ladder = config.ladder
    free = {step for step, undo in reversibility(steps, wider=ladder.wider_steps).items() if undo}
    first = RUNGS.index(ladder.first_step)
    hard = {step for step in free if RUNGS.index(step) >= first}
    general = "the key is protected" if protected else {"observe": "observe mode", "approve": "approve mode"}.get(mode)

    def why(step: Step) -> str:
        spec = steps[step]
        if not spec.reversible:
            return "cannot be undone"
        if step not in free:
            return f"reaches further than the key: {spec.scope}"
        if hard and step not in hard:
            return f"softer than ladder.first_step ({ladder.first_step})"
        return general or ""

    return {step: why(step) for step in steps}
