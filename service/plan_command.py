"""`keyfuse plan`: what would be done to a key, and what it would break, before anybody does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from alerting.words import INCIDENT_WORDS, STATE_WORDS, clean, span, usd
from containment.plan import BackupLook, Known, Plan, Rung, Spend, hit_by, make_plan, shares_by_form
from containment.providers.base import StepSpec
from containment.providers.build import shares_of
from controls.leaks import leaks_words
from schemas.records import Incident, KeyFacts, Step
from service.backups import look_at_backup
from service.errors import UserError
from service.install import Install, wall_ms
from service.query_commands import ask
from service.request_commands import known_facts, steps_for_people

_WEEK_H: Final = 168
_GO_WORDS: Final = {
    "run": "is done by itself", "await_approval": "waits for a person", "dry_run": "would be done; the mode is observe",
    "nothing": "nothing is done by itself",
}  # fmt: skip
_HITS_SHOWN: Final = 20
_LOOK_S: Final = 5.0  # to see whether the backup is active


def plan(config: Path, key_id: str, *, as_json: bool, out: Console) -> None:
    """Print the plan; with `as_json` as one JSON object."""
    install = Install.open(config)
    made = plan_of(config, install, key_id)
    out.print(made.model_dump_json(indent=2) if as_json else text_of(made), markup=False)


def plan_of(config: Path, install: Install, key_id: str) -> Plan:
    """The plan for one key, from the registry and, where it answers, the store. UserError for an unknown key."""
    facts = known_facts(config, install, key_id)
    if facts is None:
        raise UserError(f"{key_id} is not in keys.yaml, and neither a worker nor the store answers: nothing is known")
    steps = steps_for_people(install, key_id, facts)
    incident, spend, others = _asked(config, key_id)
    responses = install.responses
    return make_plan(
        Known(
            key_id, facts, install.facts_of(key_id) is not None, incident, spend,
            look_at_backup(install, key_id, others, timeout_s=_LOOK_S),
        ),
        steps=steps, also_hits=hits_of(install, key_id, facts, steps), config=responses,
        frozen=Path(responses.freeze_file).exists(), at_ms=wall_ms(),
    )  # fmt: skip


def hits_of(
    install: Install, key_id: str, facts: KeyFacts, steps: Mapping[Step, StepSpec]
) -> dict[Step, tuple[str, ...]]:
    """By step, which other keys of keys.yaml stop working too."""
    every = install.registry.all_facts().items()
    same = [(other, its.provider_ref or other) for other, its in every if its.provider == facts.provider]
    shares = shares_of(install.acting()[facts.provider].kind) or shares_by_form(steps)
    return hit_by(key_id, facts.provider_ref or key_id, same, steps=steps, shares=shares)


def _asked(config: Path, key_id: str) -> tuple[Incident | None, Spend | None, dict[str, Incident]]:
    """What the worker or the store says, and the newest incident of every key.

    Neither need answer: a plan is wanted most when things are broken.
    """
    try:
        incidents = ask(config, "incidents", {"limit": 10_000})
        hour = ask(config, "keys", {"hours": 1, "limit": 1_000_000})
        week = ask(config, "keys", {"hours": _WEEK_H, "limit": 1_000_000})
    except UserError:
        return None, None, {}
    newest: dict[str, Incident] = {}
    for row in incidents:
        if row["key_id"] not in newest:
            newest[row["key_id"]] = Incident.model_validate(row)
    return newest.get(key_id), _spend(_usd(hour, key_id), _usd(week, key_id)), newest


def _usd(rows: Any, key_id: str) -> float:  # noqa: ANN401 - rows of JSON
    return next((float(row["usd"]) for row in rows if row["key_id"] == key_id), 0.0)


def _spend(hour_usd: float, week_usd: float) -> Spend:
    """The last hour against the mean of the rest of the week."""
    usual = max(0.0, week_usd - hour_usd) / ((_WEEK_H - 1) * 60)
    return Spend(source="store", usd_per_min=hour_usd / 60, usual_usd_per_min=usual)


def text_of(made: Plan) -> str:
    """The plan for a person on call."""
    facts = made.facts
    known = "in keys.yaml" if made.registered else "not in keys.yaml: known from its use"
    where = clean(facts.provider_ref or made.key_id)
    lines = [
        f"key       {clean(made.key_id)} ({known})",
        f"owner     {clean(f'{facts.team}/{facts.app} in {facts.env}', 120)}",
        f"provider  {clean(facts.provider, 80)}, there {where}",
        f"mode      {made.mode}{', frozen' if made.frozen else ''}{', protected' if made.protected else ''}",
        f"incident  {_incident_words(made)}",
        *([f"leaked    {clean(leaks_words(made.leaks), 500)}"] if made.leaks else []),
        f"now       {next_words(made)}",
        f"at stake  {stake_words(made)}",
        f"backup    {backup_words(made.backup)}",
        "",
        "steps, softest first:",
    ]
    for number, rung in enumerate(made.rungs, 1):
        lines += _rung_lines(number, rung)
    return "\n".join(lines)


def _incident_words(made: Plan) -> str:
    if made.incident_state is None:
        return "none is open"
    return f"{INCIDENT_WORDS[made.incident_state]}: {clean(made.headline)}"


def next_words(made: Plan) -> str:
    """Which step is next without anybody doing anything, and why or why not."""
    if made.next_step is None or made.next_go == "nothing":
        return f"{_GO_WORDS['nothing']}: {clean(made.next_reason)}"
    if made.frozen and made.next_go == "run":
        return f"{made.next_step} would be done by itself, but Keyfuse is frozen: {clean(made.next_reason)}"
    return f"{made.next_step} {_GO_WORDS[made.next_go]}: {clean(made.next_reason)}"


def stake_words(made: Plan) -> str:
    """What is lost if nobody does anything."""
    spend = made.spend
    if spend is None or made.lost_in_a_day_usd is None:
        return "not known: neither a worker nor the store answers"
    source = "the open incident" if spend.source == "incident" else "the last hour against the week before"
    return (
        f"{usd(made.lost_in_a_day_usd)} in 24 h if nothing is done: {usd(spend.usd_per_min)}/min, "
        f"usually {usd(spend.usual_usd_per_min)}/min (from {source})"
    )


def backup_words(backup: BackupLook | None) -> str:
    """What the key's users go on with, and who tells them."""
    if backup is None:
        return "none is registered: the key's users stop when it is cut"
    if backup.why_not:
        return f"{clean(backup.key_id)} would not be used now: {clean(backup.why_not)}"
    active = {
        "yes": "active",
        "no": "inactive: it is activated first",
        "unknown": "active or not: not known here",
    }
    told = ", ".join(clean(place) for place in (*backup.told_at, "the gates"))
    useless = f"; not for {' and '.join(backup.useless_for)}, which stops it too" if backup.useless_for else ""
    return f"{clean(backup.key_id)} ({active[backup.active]}); before a cut users are told at {told}{useless}"


def _rung_lines(number: int, rung: Rung) -> list[str]:
    undo = "can be undone" if rung.reversible else "CANNOT BE UNDONE"
    reach = "this key alone" if rung.scope == "key" else f"the whole {rung.scope}"
    people = "1 person orders it" if rung.people == 1 else f"{rung.people} people must order it"
    lines = [
        f"{number}. {rung.step}: {undo}, stops {reach}, about {span(rung.typical_s)}, {people}",
        f"   breaks     {clean(rung.breaks)}",
        f"   by itself  {f'no: {rung.not_by_itself}' if rung.not_by_itself else 'yes, when an incident asks for it'}",
    ]
    if rung.state is not None:
        lines.append(f"   stands at  {STATE_WORDS[rung.state]}")
    if rung.also_hits:
        lines.append(f"   also hits  {hits_words(rung.also_hits)}")
    return lines


def hits_words(keys: tuple[str, ...]) -> str:
    """Other keys by name, not endless."""
    more = f" and {len(keys) - _HITS_SHOWN} more" if len(keys) > _HITS_SHOWN else ""
    return f"{len(keys)} of keys.yaml: {', '.join(clean(key, 80) for key in keys[:_HITS_SHOWN])}{more}"
