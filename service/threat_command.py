"""`keyfuse threat-model`: the threat model of one's own keys, as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from alerting.words import usd
from controls.blast_radius import together_usd
from controls.posture import WORDS, Posture
from controls.threats import THREATS, Open, open_threats
from schemas.records import rfc3339
from service.blast_command import seen_by
from service.errors import UserError
from service.install import wall_ms
from service.issued import open_all
from service.markdown import code, md
from service.postures import postures

_KEYS_SHOWN: Final = 10


def threat_model(config: Path, *, team: str, env: str, to: Path | None, out: Console) -> None:
    """Write it to a file, else to the terminal. UserError when no key is registered."""
    known, at_ms = open_all(config), wall_ms()
    found = postures(known.install, seen_by(known.install), at_ms=at_ms, team=team, env=env)
    if not found:
        named = " and ".join(f"{name} {value}" for name, value in (("team", team), ("env", env)) if value)
        raise UserError(f"no registered key{f' of {named}' if named else ''}: keys.yaml is where keys are written down")
    whose = f"team {team}" if team else "all teams"
    text = page(found, f"{whose}{f' in {env}' if env else ''}", at_ms, known.said)
    if to is None:
        out.print(text, markup=False)
        return
    try:
        to.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {to}: cannot be written: {error.strerror}") from error
    out.print(f"wrote {to}: {len(found)} keys against {len(THREATS)} threats", markup=False)


def page(found: Sequence[Posture], whose: str, at_ms: int, said: str = "") -> str:
    """The threat model of these keys."""
    hour_usd, day_usd = together_usd([each.radius for each in found])
    over = [each for each in found if not each.radius.within]
    lines = [
        f"# Threat model: {md(whose)}", "",
        f"{len(found)} keys as registered at {rfc3339(at_ms)}. All of them stolen at once: {usd(hour_usd)} in an hour, "
        f"{usd(day_usd)} in a day at worst; {len(over)} pass what their environment may lose. {md(said)}".rstrip(), "",
        "## The keys", "", "| key | owner | where | shows it | worst day | acceptable | missing |",
        "|---|---|---|---|---|---|---|",
        *(_key_row(each) for each in found),
        "", "## What is open", "",
        "A key is open to a threat when none of the controls that bound it holds. The dearest hole first.", "",
    ]  # fmt: skip
    for each in open_threats(found):
        lines += _threat(each, len(found))
    lines += [
        "## Against Keyfuse itself",
        "",
        *(f"- {each.title}: {each.answer}." for each in THREATS if not each.limits),
    ]
    return "\n".join(lines)


def _key_row(each: Posture) -> str:
    entry, now = each.entry, each.radius
    owner = md(entry.owner) if entry.owner else "**nobody**"
    lacks = ", ".join(control.replace("_", " ") for control in WORDS if not each.prevents(control))
    mark = " **OVER**" if not now.within else ""
    return (
        f"| {_cell(entry.key_id)} | {owner} | {md(f'{entry.team}/{entry.app} in {entry.env}')} | {entry.data_class} "
        f"| {usd(now.day_usd)}{mark} | {usd(now.acceptable_usd)} | {lacks or 'nothing'} |"
    )


def _cell(name: str) -> str:
    """Even within code a bar would end a cell."""
    return code(name).replace("|", "\\|")


def _threat(each: Open, keys: int) -> Iterator[str]:
    yield f"### {each.threat.title}"
    yield ""
    yield f"{each.threat.story} Found by: {each.threat.found_by}."
    yield ""
    if each.bare:
        names = ", ".join(code(one.entry.key_id) for one in each.bare[:_KEYS_SHOWN])
        more = f" and {len(each.bare) - _KEYS_SHOWN} more" if len(each.bare) > _KEYS_SHOWN else ""
        yield f"- **Open:** {len(each.bare)} of {keys} keys, {usd(each.day_usd)} in a day at worst: {names}{more}"
    else:
        yield f"- **Bounded** for all {keys} keys"
    for control, number in each.held:
        means, where = WORDS[control]
        add = "" if number == keys else f"; for the others: {where}"
        yield f"- {means}: {number} of {keys}{add}"
    yield ""
