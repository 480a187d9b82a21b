"""`keyfuse followup`: what is to be done after incidents, kept until somebody shows that it was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from rich.console import Console

from alerting.words import clean
from controls.follow_ups import why_not
from schemas.follow_up import FollowUp, FollowUpWord
from schemas.records import rfc3339
from service.errors import UserError
from service.evidence_facts import Evidence
from service.install import Install, wall_ms
from service.mark_words import moment_ms
from service.newest_of import newest_of
from service.postmortem import TODO, follow_ups
from service.query_commands import answer_of
from service.request_commands import person, send
from streams.topics import Topic

_BEFORE_MS: Final = 24 * 3_600_000


def add(
    config: Path,
    incident_id: str,
    words: str,
    *,
    suggested: bool,
    owner: str,
    due: str,
    by: str,
    out: Console,
) -> None:
    """One in your words, or all that the post-mortem suggests."""
    due_ms = _due_ms(due)
    if bool(words) == suggested:
        raise UserError("say what is to be done, or --suggested for what the post-mortem suggests; one of the two")
    install, who = Install.open(config), person(by)
    evidence = evidence_of(install, incident_id)
    wanted = [each for each in follow_ups(evidence) if each != TODO] if suggested else [words]
    if not wanted:
        raise UserError(f"the post-mortem of {incident_id} suggests nothing; say it in your words")
    for each in wanted:
        word = FollowUpWord(
            follow_up_id=FollowUpWord.id_of(incident_id, each), action="add", at_ms=wall_ms(), by=who,
            incident_id=incident_id, key_id=evidence.incident.key_id, words=each, owner=owner, due_ms=due_ms,
        )  # fmt: skip
        _say(install, word, None)
        out.print(f"{word.follow_up_id}  {clean(each, 500)}", markup=False)
    until = f" until {rfc3339(due_ms)[:10]}" if due_ms is not None else ""
    out.print(f"{len(wanted)} for {clean(owner)}{until}; `keyfuse followup list` shows what is open", markup=False)


def assign(config: Path, follow_up_id: str, *, owner: str, due: str, by: str, out: Console) -> None:
    """To somebody else, or with another date."""
    word = FollowUpWord(
        follow_up_id=follow_up_id, action="assign", at_ms=wall_ms(), by=person(by), owner=owner, due_ms=_due_ms(due)
    )
    _change(config, word, f"assigned to {owner}", out)


def end(config: Path, follow_up_id: str, action: Literal["done", "drop"], *, words: str, by: str, out: Console) -> None:
    """Done, with how one knows, or dropped, with why."""
    if not words.strip():
        raise UserError("say it in words: the next reader was not there")
    word = FollowUpWord(follow_up_id=follow_up_id, action=action, at_ms=wall_ms(), by=person(by), words=words)
    _change(config, word, {"done": "done", "drop": "dropped"}[action], out)


def _change(config: Path, word: FollowUpWord, told: str, out: Console) -> None:
    """Refused here at once where the identity stage would refuse it."""
    install = Install.open(config)
    _say(install, word, read(install).get(word.follow_up_id))
    out.print(f"{word.follow_up_id}: {clean(told)}", markup=False)


def _due_ms(text: str) -> int | None:
    if not text:
        return None
    try:
        return moment_ms(text, wall_ms())
    except (ValueError, OverflowError) as error:
        raise UserError(f"--due {text}: expected a date like 2026-12-15, or 14d from now") from error


def show(config: Path, *, every: bool, as_json: bool, out: Console) -> None:
    """Those that are open, what is due first; with `every` the others too."""
    at_ms = wall_ms()
    found = [each for each in _ordered(read(Install.open(config)).values()) if every or each.state == "open"]
    for each in found:
        out.print(each.model_dump_json() if as_json else _line(each, at_ms), markup=False)
    if not found and not as_json:
        out.print("nothing is open after incidents")


def read(install: Install) -> Mapping[str, FollowUp]:
    """All follow-ups by id. UserError when the broker does not answer."""
    return newest_of(install, Topic.FOLLOW_UPS, FollowUp)


def _say(install: Install, word: FollowUpWord, known: FollowUp | None) -> None:
    stop = why_not(word, known, install.people)
    if stop:
        raise UserError(f"not taken: {stop}")
    send(install, Topic.KEY_ASKS, (word.follow_up_id, word))


def evidence_of(install: Install, incident_id: str) -> Evidence:
    """All that is stored of it, and of the hours before. UserError for an incident that nobody knows."""
    answer = answer_of(install, "evidence", {"incident_id": incident_id, "before_ms": _BEFORE_MS})
    if answer is None:
        raise UserError(f"no incident {incident_id} is known; `keyfuse incidents` shows them")
    return Evidence.model_validate(answer)


def _ordered(found: Iterable[FollowUp]) -> list[FollowUp]:
    return sorted(found, key=lambda each: (each.due_ms is None, each.due_ms or 0, each.asked_at_ms, each.follow_up_id))


def _line(each: FollowUp, at_ms: int) -> str:
    due = f"due {rfc3339(each.due_ms)[:10]}" if each.due_ms is not None else "no date"
    when = "OVERDUE, " + due if each.overdue(at_ms) else due
    ended = f"; {each.state} by {clean(each.by)}: {clean(each.evidence, 300)}" if each.state != "open" else ""
    return (
        f"{each.follow_up_id}  {clean(each.words, 500)}\n"
        f"    {clean(each.owner)}, {when}, after {clean(each.incident_id)}{ended}"
    )
