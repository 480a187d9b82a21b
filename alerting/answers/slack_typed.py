"""`/keyfuse`: what can be typed, and what is answered to who looks. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from alerting.answers.desk import Incidents
from alerting.answers.plans import KillWanted
from alerting.channels.slack_text import Block, escape, sections
from alerting.loss import rank
from alerting.message import message, title
from alerting.words import INCIDENT_WORDS, clean, counted, usd
from schemas.records import CLOSED, Incident
from schemas.redact import looks_secret

Verb = Literal["help", "status", "explain", "kill"]
SHOWN: Final = 10
HELP: Final = (
    "`/keyfuse status`: what is open; `/keyfuse status KEY` or `INCIDENT`: one of them",
    "`/keyfuse explain KEY` or `INCIDENT`: why, with scores and evidence",
    "`/keyfuse kill KEY…` or `team:x`, `app:y`, `env:z`: cut keys now, after a list and a typed word",
    "`/keyfuse help`: this",
)
_ALL: Final = "`keyfuse incidents` at a terminal"
_FILTERS: Final = ("team", "app", "env")
_KEYS_MOST: Final = 300
_ONE: Final = "One key or one incident, as in `/keyfuse {} inc_…`."
_NO_SECRETS: Final = (
    "This looks like the secret itself, and Slack has now seen it: rotate that key. Name keys as Keyfuse shows them."
)


class Ask(NamedTuple):
    """What was typed, taken apart. With `problem` nothing is done but to say it."""

    verb: Verb
    about: str = ""  # of status and explain: a key or an incident; empty: all
    wanted: KillWanted = KillWanted()
    problem: str = ""


def ask_of(text: str) -> Ask:
    """Take the text behind `/keyfuse` apart.

    >>> ask_of("status fp1:ab").about, ask_of("kill team:search env:prod").wanted
    ('fp1:ab', KillWanted(keys=(), team='search', app=None, env='prod'))
    >>> ask_of("explode").problem
    'There is no `/keyfuse explode`.'
    """
    words = _unescaped(text).split()
    if any(looks_secret(word) for word in words):
        return Ask("help", problem=_NO_SECRETS)
    verb, rest = (words[0].lower(), words[1:]) if words else ("help", [])
    match verb:
        case "help":
            return Ask("help")
        case "kill":
            return _kill(rest)
        case "status" | "explain":
            one = len(rest) == 1 or (verb == "status" and not rest)
            return Ask(verb, about="".join(rest)) if one else Ask("help", problem=_ONE.format(verb))
        case _:
            return Ask("help", problem=f"There is no `/keyfuse {clean(verb, 40)}`.")


def _kill(words: Iterable[str]) -> Ask:
    keys, filters = list[str](), dict[str, str]()
    for word in words:
        name, colon, value = word.partition(":")
        if colon and name in _FILTERS:
            if name in filters:
                return Ask("kill", problem=f"{name}: is said twice; say which one you mean.")
            filters[name] = value
        else:
            keys.append(word)
    if len(keys) > _KEYS_MOST:
        return Ask("kill", problem=f"That is more than {_KEYS_MOST} keys: use `keyfuse kill` at a terminal.")
    return Ask("kill", wanted=KillWanted(tuple(keys), filters.get("team"), filters.get("app"), filters.get("env")))


def _unescaped(text: str) -> str:
    """As it was typed: Slack escapes three characters."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def find(incidents: Incidents, about: str) -> Incident | None:
    """By its id, or the newest of a key."""
    return incidents.get(about) or incidents.of_key(about)


def help_blocks(problem: str = "") -> list[Block]:
    """What can be typed."""
    return sections([*([escape(problem)] if problem else []), *HELP])


def status_blocks(incidents: Incidents) -> list[Block]:
    """The open incidents, the worst first."""
    found = sorted(incidents.open(), key=lambda each: (-rank(each.severity), -each.lost_usd, each.incident_id))
    if not found:
        return sections([f"No incident is open that has changed within a week; older ones: {_ALL}"])
    more = [f"… and {len(found) - SHOWN} more: {_ALL}"] if len(found) > SHOWN else []
    head = f"*{counted(len(found), 'incident')} open*"
    return sections([head, *(f"• {_line(incident)}" for incident in found[:SHOWN]), *more])


def one_blocks(incident: Incident) -> list[Block]:
    """One incident as it stands."""
    content = message(incident)
    facts = [f"{escape(label)}: {escape(value)}" for label, value in content.facts if label != "What to do"]
    steps = [f"• {escape(step)}" for step in content.steps]
    return sections([f"*{escape(content.title)}*", escape(content.headline), *facts, *steps, escape(content.latest)])


def explain_blocks(incident: Incident) -> list[Block]:
    """Why it was raised: each family with its score and sentence, the weightiest first, and what is new about it."""
    content = message(incident)
    why = [
        f"*{family}* ({_score(incident, family)}): {escape(sentence)}" for family, sentence in content.reasons
    ] or ["No detector spoke: a person opened it by an order."]  # fmt: skip
    evidence = [f"{label}: {escape(value)}" for label, value in content.facts if label in ("What changed", "Weight")]
    money = [f"{label}: {escape(value)}" for label, value in content.facts if label in ("Spends now", "Lost so far")]
    return sections([f"*{escape(title(incident))}*", *why, *evidence, *money, escape(f"Page: {content.runbook}")])


def _score(incident: Incident, family: str) -> str:
    score = {str(name): value for name, value in incident.scores.items()}.get(family)
    if score is None:
        return "no score"
    return "certain" if family in ("policy", "budget") else f"score {score:.1f}"


def _line(incident: Incident) -> str:
    facts = incident.facts
    owner = clean(f"{facts.team}/{facts.app} in {facts.env}", 120)
    state = INCIDENT_WORDS[incident.state] if incident.state not in CLOSED else "over"
    words = f"{state}, {clean(incident.key_id, 80)} of {owner}, {usd(incident.lost_usd)} lost, {incident.incident_id}"
    return f"*{incident.severity}*: {escape(words)}"
