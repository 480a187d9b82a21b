"""`keyfuse blast-radius`: what a thief of each key could spend at worst, and which control is worth adding first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from rich.console import Console

from alerting.words import clean
from controls.blast_radius import missing, radius, together_usd
from controls.registry import Registry
from schemas.key_record import KeyRecord
from service.blast_look import Seen, look
from service.blast_missing import proposals
from service.blast_text import Found, one_key, table
from service.errors import UserError
from service.install import Install, wall_ms
from service.issued import open_all
from service.query_commands import answer_of

_MONTH_H: Final = 30 * 24


class Which(NamedTuple):
    """Whose radius is asked for; all that is given must match."""

    key_id: str = ""
    team: str = ""
    env: str = ""


def blast_radius(
    config: Path, which: Which, *, proposed: Path | None, as_json: bool, picture: Path | None, check: bool, out: Console
) -> int:
    """Print it; with `check` 1 when a key passes the acceptable loss of its environment, else 0."""
    known, at_ms = open_all(config), wall_ms()
    install, seen = known.install, seen_by(known.install)
    found = every(install, which, seen, at_ms)
    after = every(_as_proposed(proposed, install), which, seen, at_ms) if proposed else None
    if as_json:
        out.print(orjson.dumps(document(found, after), option=orjson.OPT_INDENT_2).decode(), markup=False)
    elif which.key_id:
        out.print(one_key(found[0], after[0] if after else None), markup=False)
    else:
        out.print(table(found, after), markup=False)
    if picture is not None:
        from service.blast_picture import draw  # noqa: PLC0415 - matplotlib takes a second to load

        picture.write_bytes(draw([each.radius for each in found], [each.radius for each in after] if after else None))
        out.print(f"picture: {picture}", markup=False)
    if known.said and not as_json:
        out.print(f"\n{known.said}", markup=False)
    judged = after if after is not None else found
    over = [each.radius for each in judged if not each.radius.within]
    if check and over:
        names = ", ".join(clean(each.key_id, 80) for each in over[:5]) + (" …" if len(over) > 5 else "")
        words = f"{len(over)} of {len(judged)} keys pass the acceptable loss of their environment"
        out.print(f"{words}: {names}", markup=False)
    return int(check and bool(over))


def _as_proposed(config: Path, now: Install) -> Install:
    """Other settings, the same issued keys."""
    install = Install.open(config)
    install.registry = Registry(install.folder.keys, now.registry.records())
    return install


def every(install: Install, which: Which, seen: Seen, at_ms: int) -> list[Found]:
    """The keys asked for, the largest radius first. UserError when there are none."""
    entries = [entry for entry in install.registry.entries().values() if _asked(entry, which, at_ms)]
    if not entries:
        raise UserError(_nobody(which))
    person_s = install.folder.responses.ladder.person_answers_min * 60
    found = []
    for entry in entries:
        looked = look(install, entry, seen=seen, at_ms=at_ms, closely=bool(which.key_id))
        lacks = missing(looked.exposure, proposals(looked, seen, person_s=person_s))
        found.append(Found(looked, radius(looked.exposure), lacks))
    return sorted(found, key=lambda each: (-each.radius.day_usd, each.radius.key_id))


def _asked(entry: KeyRecord, which: Which, at_ms: int) -> bool:
    if which.key_id:
        return entry.key_id == which.key_id
    return entry.served(at_ms) and which.team in {"", entry.team} and which.env in {"", entry.env}


def _nobody(which: Which) -> str:
    if which.key_id:
        return f"{which.key_id} is in no registry: what is not known of it cannot be reckoned with. Add it to keys.yaml"
    named = " and ".join(f"{name} {value}" for name, value in (("team", which.team), ("env", which.env)) if value)
    return f"no registered key{f' of {named}' if named else ''}: keys.yaml is where keys are written down"


def seen_by(install: Install) -> Seen:
    """What the worker or the store knows; nothing when neither answers, for the settings alone say enough."""
    try:
        uses = answer_of(install, "keys", {"hours": _MONTH_H, "limit": 1_000_000})
        cut_s = answer_of(install, "planes", {})["cut_seconds"]
    except UserError:
        return Seen()
    return Seen(cut_s, {row["key_id"]: float(row["usd"]) for row in uses})


def document(found: Sequence[Found], after: Sequence[Found] | None) -> dict[str, Any]:
    """All of it as JSON."""
    hour_usd, day_usd = together_usd([each.radius for each in found])
    made: dict[str, Any] = {"hour_usd": hour_usd, "day_usd": day_usd, "keys": [_row(each) for each in found]}
    if after is not None:
        hour_usd, day_usd = together_usd([each.radius for each in after])
        made["proposed"] = {"hour_usd": hour_usd, "day_usd": day_usd, "keys": [_row(each) for each in after]}
    return made


def _row(found: Found) -> dict[str, Any]:
    entry, exposure = found.look.entry, found.look.exposure
    return {
        **found.radius._asdict(), "bites": [bite._asdict() for bite in found.radius.bites],
        "within_acceptable": found.radius.within, "team": entry.team, "app": entry.app, "provider": entry.provider,
        "most_usd_per_min": exposure.most_usd_per_min, "passes_the_gate": found.look.gated,
        "cut": exposure.cut._asdict() if exposure.cut else None, "breaks": found.look.breaks,
        "also_hits": list(found.look.also_hits), "backup": found.look.backup,
        "dearest_model": found.look.dearest.model if found.look.dearest else None,
        "missing": [each._asdict() for each in found.missing],
    }  # fmt: skip
