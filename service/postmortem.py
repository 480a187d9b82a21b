"""The draft of a post-mortem as Markdown, from an incident's records alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alerting.steps import CUTS
from alerting.words import INCIDENT_WORDS, STATE_WORDS, STEP_WORDS, span, usd
from schemas.records import Command, Outcome, StepState, rfc3339
from service.evidence_facts import Evidence
from service.evidence_story import normal_usd, pace, timeline
from service.markdown import code, md
from storage.holds import newest

TODO: Final = "TODO: what else was learned"
_LONG_WAIT_S: Final = 300
ROOM: Final = 2.0
"""A limit is proposed at so many times the most that is normal for the key."""


def draft(evidence: Evidence) -> str:
    """Markdown, ready to be edited: what is known is filled in, what only people know is asked."""
    incident = evidence.incident
    parts = [
        f"# Post-mortem of {md(incident.incident_id)}",
        "Draft made from the records. Times are UTC. What is not known is called so; lines with `TODO` need a person.",
        *_section("In short", _short(evidence)),
        *_section("How fast", _pace(evidence)),
        *_section("Loss", _loss(evidence)),
        *_section("Timeline", _timeline(evidence)),
        *_section("What worked, and what did not", _worked(evidence)),
        *_section("Follow-ups", [f"- [ ] {words}" for words in follow_ups(evidence)]),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)]


def _short(evidence: Evidence) -> list[str]:
    incident, facts = evidence.incident, evidence.incident.facts
    return [
        f"- **Key:** {md(incident.key_id)} ({md(f'{facts.team}/{facts.app} in {facts.env}, {facts.provider}')})",
        f"- **Why it was seen:** {md(incident.headline)}",
        f"- **Families:** {', '.join(incident.families) or 'none: a person opened it'}",
        f"- **State:** {INCIDENT_WORDS[incident.state]}, {incident.severity}, mode `{incident.mode}`",
        "- **How the key got out:** TODO",
        "- **Who was hit:** TODO",
    ]


def _pace(evidence: Evidence) -> list[str]:
    told = pace(evidence)
    rows = [
        ("detect", "first minute above the normal → first finding", told.detect_s),
        ("open", "first finding → incident", told.open_s),
        ("contain", "incident → first order to cut", told.contain_s),
        ("effective", "order → the provider was seen to refuse the key", told.effective_s),
    ]
    lines = ["| time to | from where to where | how long |", "|---|---|---|"]
    return lines + [f"| {name} | {what} | {'not known' if s is None else span(s)} |" for name, what, s in rows]


def _loss(evidence: Evidence) -> list[str]:
    incident = evidence.incident
    spent = sum(minute.usd for minute in evidence.minutes if minute.at_ms >= incident.opened_at_ms // 60_000 * 60_000)
    lines = [
        f"- Lost {usd(incident.lost_usd)} above normal; acceptable in this environment: "
        f"{usd(incident.acceptable_loss_usd)}.",
        f"- The key spent {usd(spent)} in all from the incident's first minute to {rfc3339(evidence.until_ms)}.",
    ]
    cut_ms = _cut_ms(evidence)
    if cut_ms is not None:
        after = sum(minute.usd for minute in evidence.minutes if minute.at_ms > cut_ms)
        lines.append(f"- After the minute in which the cut was confirmed it spent {usd(after)}.")
    return lines


def _timeline(evidence: Evidence) -> list[str]:
    return [
        f"- `{rfc3339(entry.at_ms)}` {entry.kind}{f' ({md(entry.who, 80)})' if entry.who else ''}: {md(entry.words)}"
        for entry in timeline(evidence)
    ]


def _worked(evidence: Evidence) -> list[str]:
    last = _last_words(evidence)
    lines = []
    for command in evidence.commands:
        outcome = last.get(command.command_id)
        state = STATE_WORDS[outcome.state] if outcome else "no outcome is known"
        took = f" after {span(outcome.seconds_to_effective)}" if outcome and outcome.seconds_to_effective else ""
        how = "by itself" if command.automatic else f"by {md(command.by, 80)}"
        detail = f": {md(outcome.detail)}" if outcome and outcome.detail else ""
        lines.append(f"- {STEP_WORDS[command.step]} ({how}): {state}{took}{detail}")
    return lines or ["- No step was ordered."]


def follow_ups(evidence: Evidence) -> list[str]:
    """What should be different next time, each with the command or the setting that does it."""
    found = [*_about_steps(evidence), *_about_limits(evidence), *_about_marks(evidence), *_about_holds(evidence)]
    return [*found, TODO]


def _about_steps(evidence: Evidence) -> Iterator[str]:
    incident, last = evidence.incident, _last_words(evidence)
    if incident.mode == "observe":
        yield "The mode was `observe`: nothing was done by itself. Set `approve` or `auto` in responses.yaml"
    for command in evidence.commands:
        outcome = last.get(command.command_id)
        if outcome is not None:
            yield from _about_outcome(command, outcome)
    told = pace(evidence)
    if told.contain_s is not None and told.contain_s > _LONG_WAIT_S:
        yield f"It took {span(told.contain_s)} until a cut was ordered: would mode `auto` have been right here?"
    if _cut_ms(evidence) is not None and incident.state != "false_positive":
        yield f"Give the key's users a new key; this one stays cut until {code(f'keyfuse restore {incident.key_id}')}"
    if incident.facts.provider_ref is None or incident.facts.team == "unknown":
        yield f"Write {md(incident.key_id)} into keys.yaml with its owner and `provider_ref`"


def _about_outcome(command: Command, outcome: Outcome) -> Iterator[str]:
    step = STEP_WORDS[command.step]
    if outcome.state is StepState.IRREVOCABLE:
        yield f"{step} failed for good: check at the provider that the key is refused. {md(outcome.detail)}"
    elif outcome.state is StepState.REFUSED:
        yield f"{step} was refused by the rule {code(outcome.rule)}: was that right? {md(outcome.detail)}"
    elif outcome.state is StepState.AWAITING_APPROVAL:
        yield f"{step} still waits for an approval: {code(f'keyfuse contain {command.key_id}')}, or close the incident"


def _about_limits(evidence: Evidence) -> Iterator[str]:
    incident, normal = evidence.incident, normal_usd(evidence)
    if incident.lost_usd > incident.acceptable_loss_usd:
        yield (
            f"The loss passed what is acceptable ({usd(incident.lost_usd)} of {usd(incident.acceptable_loss_usd)}): "
            "tighten this key's limits, or change `acceptable_loss_usd` in budgets.yaml"
        )
    limit = round(normal * ROOM, 2)
    over = [
        minute for minute in evidence.minutes if minute.usd > limit and minute.at_ms >= incident.opened_at_ms - 60_000
    ]
    if limit > 0 and over and incident.state != "false_positive":
        yield (
            f"A limit of `usd_per_min: {limit:g}` for this key in detectors.yaml ({ROOM:g} times the most that is "
            f"normal for it) would have been exceeded first at {rfc3339(over[0].at_ms)} ({len(over)} min in all)"
        )


def _about_marks(evidence: Evidence) -> Iterator[str]:
    incident = evidence.incident
    if not any(mark.incident_id == incident.incident_id for mark in evidence.marks):
        said = code(f"keyfuse mark {incident.incident_id} true --reason '...'")
        yield f"Say what it was: {said}, or the same with `false-positive`"
    for mark in evidence.marks:
        softens = mark.verdict in ("expected", "false_positive") and not mark.withdrawn
        if softens and mark.incident_id != incident.incident_id and mark.at_ms <= incident.updated_at_ms:
            yield (
                f"An exception was known for this key: {mark.verdict} by {md(mark.by, 80)}, {md(mark.reason)}. "
                f"To close it: `keyfuse unmark {mark.mark_id} --reason '...'`"
            )


def _about_holds(evidence: Evidence) -> Iterator[str]:
    incident, held = evidence.incident, [hold for hold in newest(evidence.holds) if not hold.released]
    for hold in held:
        yield f"Under legal hold by {md(hold.by, 80)} ({md(hold.reason)}); to end it: `keyfuse unhold {hold.hold_id}`"
    if not held and incident.state != "false_positive":
        said = code(f"keyfuse hold {incident.incident_id} --reason '...'")
        yield f"The key's events go when they are older than `store.retention_days`; where they must stay: {said}"


def _last_words(evidence: Evidence) -> dict[str, Outcome]:
    return {outcome.command_id: outcome for outcome in evidence.outcomes}


def _cut_ms(evidence: Evidence) -> int | None:
    """When the key was first seen to be refused."""
    cuts = [each for each in evidence.outcomes if each.step in CUTS and each.state is StepState.CONFIRMED]
    return min((outcome.at_ms for outcome in cuts), default=None)
