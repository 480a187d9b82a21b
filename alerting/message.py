"""What an incident says to people, before any channel's own form. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from alerting.budgets import budget_facts, budget_title
from alerting.runbook import RUNBOOKS, by_weight, runbook
from alerting.steps import needs_person
from alerting.words import INCIDENT_WORDS, clean, step_words, usd
from schemas.records import CENSUS_PREFIX, CERTAIN, GATE_PREFIX, TOLD, Incident, rfc3339

_STEPS_SHOWN = 8


class Message(NamedTuple):
    """One incident in the order in which a person reads it. All texts are clean: one line, no control characters."""

    title: str
    headline: str
    facts: tuple[tuple[str, str], ...]  # label, value
    reasons: tuple[tuple[str, str], ...]  # family, its sentence
    steps: tuple[str, ...]
    latest: str
    runbook: str  # the page that says what to do


def message(incident: Incident, runbooks: str = RUNBOOKS) -> Message:
    """The content of the message, the same on every channel; `runbooks` is `runbook_url` of `routes.yaml`."""
    page = runbook(incident, runbooks)
    return Message(
        title=title(incident),
        headline=clean(incident.headline),
        facts=(*_facts(incident), ("What to do", page)),
        reasons=()
        if incident.budget
        else tuple((family, clean(incident.reasons.get(family, ""))) for family in by_weight(incident)),
        steps=tuple(step_words(step) for step in incident.steps[-_STEPS_SHOWN:]),
        latest=f"{rfc3339(incident.updated_at_ms)} {clean(incident.transition, 500)}",
        runbook=page,
    )


def title(incident: Incident) -> str:
    """One line that can be understood without the rest.

    Example: `CRITICAL, contained: openai key fp1:0123 of search/ranker (prod)`.
    """
    facts = incident.facts
    if incident.budget is not None:
        return f"{incident.severity.upper()}, {INCIDENT_WORDS[incident.state]}: {budget_title(incident.budget)}"
    if incident.of_no_key:
        name = clean(incident.key_id.removeprefix(CENSUS_PREFIX), 80)
        return f"{incident.severity.upper()}, {INCIDENT_WORDS[incident.state]}: {name}"
    act = ", A PERSON MUST ACT NOW" if needs_person(incident) else ""
    whose = f"{clean(facts.team, 40)}/{clean(facts.app, 40)} ({clean(facts.env, 20)})"
    return (
        f"{incident.severity.upper()}, {INCIDENT_WORDS[incident.state]}{act}: "
        f"{clean(facts.provider, 20)} key {clean(incident.key_id, 80)} of {whose}"
    )


def weights(incident: Incident) -> str:
    """How much each family contributes, in words; empty for an incident without findings."""
    certain = [f"{family} (certain)" for family in by_weight(incident) if family in CERTAIN]
    certain += [f"{family} (reported)" for family in by_weight(incident) if family == "leak"]
    certain += [f"{family} (whose it is)" for family in by_weight(incident) if family in TOLD - {"leak"}]
    learned = [family for family in by_weight(incident) if family not in CERTAIN and family in incident.scores]
    rare = [f"{family} {incident.scores[family]:.1f}" for family in learned]
    return ", ".join(certain + rare) + ("; one point more is ten times rarer" if rare else "")


def plain(incident: Incident, runbooks: str = RUNBOOKS) -> str:
    """The message for a terminal or a mail."""
    text = message(incident, runbooks)
    width = max(len(label) for label, _ in text.facts)
    lines = [text.title, f"  {text.headline}", ""]
    lines += [f"  {label:<{width}}  {value}" for label, value in text.facts]
    lines += ["", *(f"  {family}: {sentence}" for family, sentence in text.reasons)] if text.reasons else []
    lines += ["", *(f"  {step}" for step in text.steps)] if text.steps else []
    return "\n".join([*lines, "", f"  {text.latest}"])


def _facts(incident: Incident) -> tuple[tuple[str, str], ...]:
    if incident.budget is not None:
        return tuple(budget_facts(incident, incident.budget))
    if incident.key_id.startswith(GATE_PREFIX):
        return (("Incident", f"{incident.incident_id}, opened {rfc3339(incident.opened_at_ms)}"),)
    facts = incident.facts
    now, normal = usd(incident.usd_per_min), usd(incident.expected_usd_per_min)
    spends = "not known: its use was not odd so far" if incident.only_told else f"{now}/min, normally {normal}/min"
    return (
        ("Key", clean(incident.key_id, 80)),
        ("Owner", f"team {clean(facts.team, 80)}, app {clean(facts.app, 80)}, env {clean(facts.env, 80)}"),
        ("Spends now", spends),
        ("Lost so far", f"{usd(incident.lost_usd)} above normal"),
        ("Acceptable loss", usd(incident.acceptable_loss_usd)),
        *_evidence(incident),
        ("Mode", incident.mode),
        ("Incident", f"{incident.incident_id}, opened {rfc3339(incident.opened_at_ms)}"),
    )


def _evidence(incident: Incident) -> Iterator[tuple[str, str]]:
    if incident.sketch is not None and incident.sketch.changed:
        yield "What changed", clean("; ".join(incident.sketch.changed), 500)
    if incident.scores or incident.leaks:
        yield "Weight", weights(incident)
