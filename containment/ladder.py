"""Which rung of the ladder an incident asks for, and who decides. Pure: a decision is a value with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from controls.leaks import leaks_words
from schemas.config.responses import ResponsesConfig
from schemas.records import CLOSED, TOLD, Command, Incident, IncidentStep, Mode, Step, StepState, kinds_of_evidence

Go = Literal["run", "await_approval", "dry_run", "nothing"]
RUNGS: Final[tuple[Step, ...]] = ("throttle", "degrade", "block", "disable", "revoke")
CUTS: Final[frozenset[Step]] = frozenset({"block", "disable", "revoke"})  # the key is refused, not merely slowed
KEYFUSE: Final = "keyfuse"  # `by` of what no person asked for
_LIVE: Final = frozenset({StepState.REQUESTED, StepState.IN_FLIGHT, StepState.CONFIRMED})
PRODUCTION: Final = frozenset({"prod", "production"})


class Choice(NamedTuple):
    """What to do now. `step` is None exactly when `go` is "nothing"."""

    step: Step | None
    mode: Mode
    automatic: bool  # no person stands between the order and its effect
    reversible: bool
    reason: str
    go: Go


def choose(
    incident: Incident, *, certain: bool, config: ResponsesConfig, offered: Mapping[Step, bool], at_ms: int
) -> Choice:
    """The next rung for an incident.

    Args:
        incident: As it stands now, with the steps already ordered.
        certain: True when a limit that needs no learning was broken.
        config: `responses.yaml`.
        offered: The provider's steps, each with whether it can be undone; empty when no provider is known.
        at_ms: Now, in event time.
    """
    mode = config.mode_of(incident.key_id, incident.facts.env)
    stop = _why_not(incident, certain=certain, config=config)
    if stop:
        return _nothing(mode, stop)
    step, why = _rung(incident, config=config, mode=mode, offered=offered, at_ms=at_ms)
    if step is None:
        return _nothing(mode, why)
    reversible = offered[step]
    reason = "; ".join(filter(None, (why, _leak_words(incident), loss_words(incident))))
    if mode == "observe":
        return Choice(step, mode, True, reversible, f"observe mode: would {step} the key: {reason}", "dry_run")
    ask = _why_ask(incident, step, reversible=reversible, config=config, mode=mode)
    if ask:
        return Choice(step, mode, False, reversible, f"{ask}: {reason}", "await_approval")
    return Choice(step, mode, True, reversible, reason, "run")


def loss_words(incident: Incident) -> str:
    """What the incident costs, for the person who decides."""
    if incident.only_told:
        return "nothing was odd about its use so far, what it spends is not known"
    over = incident.usd_per_min - incident.expected_usd_per_min
    left = incident.acceptable_loss_usd - incident.lost_usd
    words = (
        f"spending ${incident.usd_per_min:,.2f}/min against ${incident.expected_usd_per_min:,.2f} normally, "
        f"${incident.lost_usd:,.2f} of ${incident.acceptable_loss_usd:,.2f} acceptable loss is gone"
    )
    if left <= 0:
        return f"{words}: the limit is passed"
    return f"{words}, the rest in {left / over:,.1f} min" if over > 0 else words


def _leak_words(incident: Incident) -> str:
    return f"the key was {leaks_words(incident.leaks)}" if incident.leaks else ""


def approvals_needed(command: Command) -> int:
    """How many people must stand behind a command; who asked for it is one of them. Giving back needs nobody."""
    if command.step == "restore":
        return 0
    if not command.reversible:
        return 2 if command.facts.env.strip().lower() in PRODUCTION else 1
    return 0 if command.automatic else 1


def approved(command: Command, approvals: Iterable[str] = ()) -> bool:
    """True when enough different people stand behind the command. Keyfuse itself is not a person."""
    people = {name.strip() for name in (command.by, *command.approvals, *approvals)} - {"", KEYFUSE}
    return len(people) >= approvals_needed(command)


def _nothing(mode: Mode, reason: str) -> Choice:
    return Choice(None, mode, False, False, reason, "nothing")


def _why_not(incident: Incident, *, certain: bool, config: ResponsesConfig) -> str:
    """Why nothing is ordered at all; empty when something may be."""
    if incident.state in CLOSED:
        return f"the incident is {incident.state}"
    if certain or (config.ladder.leak_is_certain and any(leak.verified for leak in incident.leaks)):
        return ""
    needed, score = config.ladder.families_for_cut, config.ladder.cut_score
    told = any(leak.counts for leak in incident.leaks)
    spoke = [family for family in incident.families if family != "cohort" and (told or family not in TOLD)]
    sure_of = [family for family in spoke if family in TOLD or incident.scores.get(family, 0.0) >= score]
    sure = kinds_of_evidence(sure_of)
    if sure >= needed and TOLD.issuperset(sure_of):
        return "a report alone is no reason for a cut unless it is verified and ladder.leak_is_certain: alert only"
    if sure >= needed:
        return _why_wait(incident, config)
    agreeing = kinds_of_evidence(spoke)
    if agreeing < needed:
        return f"{agreeing} of {needed} kinds of evidence agree and no certain limit is broken: alert only"
    return f"{agreeing} kinds of evidence agree, {sure} of {needed} with the score of {score:g} a cut needs: alert only"


def _why_wait(incident: Incident, config: ResponsesConfig) -> str:
    """Why a person may as well decide: until then less is lost than a wrong cut costs. Empty when it is more.

    Of a key that others have found the present pace says nothing: whoever holds it spends as fast as they please.
    """
    if any(leak.counts for leak in incident.leaks):
        return ""
    ladder = config.ladder
    at_stake = max(0.0, incident.usd_per_min - incident.expected_usd_per_min) * ladder.person_answers_min
    if at_stake >= ladder.wrong_cut_usd:
        return ""
    return (
        f"${at_stake:,.2f} are at stake in the {ladder.person_answers_min:g} min until a person answers, less than "
        f"the ${ladder.wrong_cut_usd:,.2f} that a wrong cut costs: alert only"
    )


def _why_ask(incident: Incident, step: Step, *, reversible: bool, config: ResponsesConfig, mode: Mode) -> str:
    """Why a person must decide; empty when the step may run by itself."""
    if not reversible:
        return f"{step} cannot be undone, a person must approve"
    if RUNGS.index(step) > RUNGS.index("disable"):
        return f"{step} is beyond what may run by itself"
    if incident.facts.protected or incident.key_id in config.protected_keys:
        return "the key is protected, a person must approve"
    if any(done.step == "restore" for done in incident.steps):
        return "a person restored this key during the incident, so a person decides again"
    return "approve mode" if mode == "approve" else ""


def _sequence(offered: Mapping[Step, bool], first: Step, latest: Mapping[Step, IncidentStep]) -> list[Step]:
    """The rungs in the order to try: undoable ones from the first step up, then what cannot be undone.

    A provider with nothing undoable that hard gives its hardest undoable rung instead: softer than asked, but safe.
    What is softer than a step already under way (a person may have ordered a hard one) is left out.
    """
    undoable = [step for step in RUNGS if offered.get(step, False)]
    final = [step for step in RUNGS if step in offered and not offered[step]]
    sequence = ([step for step in undoable if RUNGS.index(step) >= RUNGS.index(first)] or undoable[-1:]) + final
    live = [step for step in RUNGS if step in latest and latest[step].state in _LIVE]
    if not live:
        return sequence
    return [live[-1], *(step for step in sequence if RUNGS.index(step) > RUNGS.index(live[-1]))]


def _rung(
    incident: Incident, *, config: ResponsesConfig, mode: Mode, offered: Mapping[Step, bool], at_ms: int
) -> tuple[Step | None, str]:
    latest = {done.step: done for done in incident.steps}
    sequence = _sequence(offered, config.ladder.first_step, latest)
    if not sequence:
        return None, "no provider can act on this key alone: only a person may order what reaches further"
    why = "the softest step the provider has"
    for step in sequence:
        done = latest.get(step)
        if done is None:
            return step, why
        if done.state is not StepState.CONFIRMED:
            return _again(done, config=config, mode=mode, at_ms=at_ms)
        waited = min(at_ms, incident.last_finding_at_ms) - done.at_ms
        still_spending = incident.usd_per_min > incident.expected_usd_per_min
        if not still_spending or waited < config.ladder.escalate_after_s * 1000:
            return None, f"{step} is confirmed; waiting to see whether the spending ends"
        why = f"still spending {waited / 1000:.0f} s after {step} was confirmed"
    return None, f"{why}, and the provider has nothing harder: a person must act"


def _again(done: IncidentStep, *, config: ResponsesConfig, mode: Mode, at_ms: int) -> tuple[Step | None, str]:
    """A step that was ordered and has not come true: wait for it, or order it once more."""
    waits_s = {
        StepState.SUPERSEDED: 0.0,
        StepState.IRREVOCABLE: config.caps.cooldown_s,
        StepState.REFUSED: config.ladder.escalate_after_s,
    }
    if done.state is StepState.REJECTED:
        return None, f"a person said no to {done.step} in this incident: people decide from here"
    if done.state is StepState.DRY_RUN and mode != "observe":
        return done.step, "so far this was only a dry run"
    wait_s = waits_s.get(done.state)
    if wait_s is None or at_ms - done.at_ms < wait_s * 1000:
        return None, f"{done.step} is already ordered ({done.state})"
    return done.step, f"{done.step} was {done.state} before"
