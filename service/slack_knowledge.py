"""What Slack's forms are told of the install: the plan for a key, and what the emergency switch would do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alerting.answers.desk import Incidents
from alerting.answers.plans import KillList, KillOrder, KillWanted, PlanWords, StepWords
from alerting.answers.slack_work import Knowledge
from alerting.words import STATE_WORDS, STEP_WORDS, clean, span
from containment.kill import Wanted, means_it, select
from containment.plan import Known, Plan, Rung, make_plan
from schemas.records import Incident, KeyFacts
from service.backups import look_at_backup
from service.errors import UserError
from service.install import Install, wall_ms
from service.kill_list import line, order_for
from service.plan_command import backup_words, hits_of, hits_words, next_words, stake_words
from service.request_commands import steps_for_people

_TYPED: Final = "{}:"  # how a filter is typed in Slack
_AT_A_TERMINAL: Final = " to keyfuse kill at a terminal"


def knowledge(install: Install, incidents: Incidents) -> Knowledge:
    """Of the settings as they are when it is asked."""
    return Knowledge(
        plan=lambda incident: plan_words(install, incident, incidents),
        kill=lambda wanted: kill_list(install, incidents, wanted),
        means_it=means_it,
    )


def plan_words(install: Install, incident: Incident, incidents: Incidents) -> PlanWords:
    """The plan for the incident's key, in words. No provider is asked: admin keys are not here."""
    key_id, facts = incident.key_id, install.facts_of(incident.key_id) or incident.facts
    try:
        steps = steps_for_people(install, key_id, facts)
    except UserError as error:
        return PlanWords(_owner(key_id, facts), "nothing can be done from here", "see the incident", (), str(error))
    responses, others = install.responses, {each.key_id: each for each in incidents.open()}
    backup = look_at_backup(install, key_id, others, timeout_s=None)
    made = make_plan(
        Known(key_id, facts, install.facts_of(key_id) is not None, incident, None, backup),
        steps=steps, also_hits=hits_of(install, key_id, facts, steps), config=responses,
        frozen=Path(responses.freeze_file).exists(), at_ms=wall_ms(),
    )  # fmt: skip
    about = (*_owner(key_id, facts), ("Mode", _mode_words(made)), ("Backup", backup_words(made.backup)))
    return PlanWords(
        about=about, next=next_words(made), at_stake=stake_words(made),
        steps=tuple(_step(rung) for rung in made.rungs),
    )  # fmt: skip


def kill_list(install: Install, incidents: Incidents, wanted: KillWanted) -> KillList:
    """What would be cut. ValueError, in the user's words, when no keys are meant or nobody knows one of them."""
    if any((wanted.team, wanted.app, wanted.env)) and not incidents.complete():
        raise ValueError("the incidents of the last week are still being read: ask again in a moment, or name the keys")
    told = {incident.key_id: incident.facts for incident in incidents.open()}
    known = {**told, **install.registry.all_facts()}  # what is written is stronger than what was seen
    names = select(Wanted(*wanted), known, _TYPED)
    lost = [name for name in names if name not in known]
    if lost:
        shown = ", ".join(clean(name, 80) for name in lost[:10])
        raise ValueError(f"nobody can say what {shown} is: write it into keys.yaml, with its provider")
    orders = [order_for(install, name, known[name], revoke=False, wider=False) for name in names]
    lines = (line(order) + (_AT_A_TERMINAL if "add --" in order.cut.why else "") for order in orders)
    going = tuple(KillOrder(order.key_id, order.cut.step, order.facts) for order in orders if order.cut.step)
    return KillList(tuple(lines), going)


def _owner(key_id: str, facts: KeyFacts) -> tuple[tuple[str, str], ...]:
    owner = clean(f"{facts.team}/{facts.app} in {facts.env}", 120)
    where = clean(facts.provider_ref or key_id, 120)
    return (
        ("Key", clean(key_id, 80)), ("Owner", owner), ("Provider", f"{clean(facts.provider, 80)}, there {where}"),
    )  # fmt: skip


def _mode_words(made: Plan) -> str:
    return f"{made.mode}{', frozen' if made.frozen else ''}{', PROTECTED' if made.protected else ''}"


def _step(rung: Rung) -> StepWords:
    undo = "can be undone" if rung.reversible else "CANNOT BE UNDONE"
    reach = "this key alone" if rung.scope == "key" else f"the WHOLE {rung.scope}"
    return StepWords(
        step=rung.step, name=STEP_WORDS[rung.step].capitalize(), breaks=clean(rung.breaks),
        undo=f"{undo}, stops {reach}, about {span(rung.typical_s)}",
        also_hits=hits_words(rung.also_hits) if rung.also_hits else "", people=rung.people,
        state=STATE_WORDS[rung.state] if rung.state else "",
    )  # fmt: skip
