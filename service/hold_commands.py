"""`hold`, `unhold` and `holds`: what is stored of an incident stays, whatever retention says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from rich.console import Console

from alerting.words import clean, counted
from schemas.evidence import Hold
from schemas.records import Incident, rfc3339
from schemas.redact import redact
from service.errors import UserError
from service.hold_answers import Standing
from service.install import Install, wall_ms
from service.query_commands import answer_of, ask
from service.request_commands import send, speaker
from storage.holds import GRACE_MS
from streams.topics import Topic

_DAY_MS: Final = 86_400_000
_ASK_EVERY_S: Final = 0.3
_COUNTED_S: Final = 2.0


def hold(config: Path, incident_id: str, *, reason: str, hours: float, by: str, wait_s: float, out: Console) -> None:
    """Place a hold, and say what it holds as soon as the archive has acted on it."""
    install, why = Install.open(config), _reason(reason)
    by = speaker(install, by, "hold")
    incident = _incident(config, incident_id)
    hold_id = Hold.id_of(incident_id, by, why)
    before_ms = max((each.hold.at_ms for each in standings(install) if each.hold.hold_id == hold_id), default=0)
    placed = Hold(
        hold_id=hold_id, at_ms=max(wall_ms(), before_ms + 1), by=by, reason=why, incident_id=incident_id,
        key_id=incident.key_id, from_ms=max(0, incident.opened_at_ms - int(hours * 3_600_000)),
    )  # fmt: skip
    send(install, Topic.HOLDS, (placed.hold_id, placed))
    standing = heard(install, placed, wait_s)
    if standing is None:
        out.print(_NOT_YET.format(what=f"hold {placed.hold_id} of {incident_id}"), markup=False)
        return
    out.print(f"held: {_held(standing)} ({placed.hold_id})", markup=False)
    dropped_ms = wall_ms() - install.folder.wiring.store.retention_days * _DAY_MS
    if placed.from_ms < dropped_ms:
        out.print(f"what is older than {_time(dropped_ms)} was dropped by retention before this hold", markup=False)
    out.print(f"`keyfuse unhold {placed.hold_id} --reason WHY` ends it", markup=False)


def unhold(config: Path, target: str, *, reason: str, by: str, wait_s: float, out: Console) -> None:
    """Release one hold, named by itself or by its incident where that has but one."""
    install, why = Install.open(config), _reason(reason)
    by = speaker(install, by, "unhold")
    found = _named(standings(install), target)
    # Newer than what it takes back, also where that was said on a machine whose clock is ahead.
    at_ms = max(wall_ms(), found.hold.at_ms + 1)
    gone = found.hold.model_copy(update={"at_ms": at_ms, "by": by, "reason": why, "released": True})
    send(install, Topic.HOLDS, (gone.hold_id, gone))
    if heard(install, gone, wait_s) is None:
        out.print(_NOT_YET.format(what=f"the release of {gone.hold_id}"), markup=False)
        return
    again = f"`keyfuse hold {gone.incident_id} --reason WHY` before then keeps it"
    out.print(
        f"released: {gone.hold_id} of {gone.incident_id}; what retention has dropped else, and no other hold covers, "
        f"goes on {_time(gone.at_ms + GRACE_MS)}; {again}",
        markup=False,
    )  # fmt: skip


def holds(config: Path, *, everything: bool, out: Console) -> None:
    """What is in force, newest first; with `everything` what was released as well."""
    found = standings(Install.open(config))
    shown = [each for each in found if everything or not each.hold.released]
    hidden = len(found) - len(shown)
    more = [f"{hidden} released: `keyfuse holds --all`"] if hidden else []
    out.print("\n\n".join([*(map(_block, shown) if shown else ["nothing is under legal hold"]), *more]), markup=False)


def standings(install: Install) -> list[Standing]:
    return [Standing.model_validate(row) for row in answer_of(install, "holds", {})]


_NOT_YET: Final = "asked for {what}; the archive has not done it yet, `keyfuse holds` shows when it has"


def _reason(text: str) -> str:
    if not text.strip():
        raise UserError("--reason: say why, for example the matter's number; it goes to the audit")
    return redact(clean(text))


def _incident(config: Path, incident_id: str) -> Incident:
    rows = ask(config, "incidents", {"limit": 10_000})
    found = next((row for row in rows if row["incident_id"] == incident_id), None)
    if found is None:
        raise UserError(f"no incident {incident_id}; `keyfuse incidents` shows their ids")
    return Incident.model_validate(found)


def _named(found: list[Standing], target: str) -> Standing:
    meant = [each for each in found if target in (each.hold.hold_id, each.hold.incident_id)]
    going = [each for each in meant if not each.hold.released]
    if not meant:
        raise UserError(f"no hold {target}; `keyfuse holds` shows them")
    if not going:
        raise UserError(f"{target} was released by {meant[0].hold.by} on {_time(meant[0].hold.at_ms)} already")
    if len(going) > 1:
        names = ", ".join(f"{each.hold.hold_id} ({each.hold.by}: {each.hold.reason})" for each in going)
        raise UserError(f"{target} is held {len(going)} times, so name the hold: {names}")
    return going[0]


def heard(install: Install, said: Hold, wait_s: float) -> Standing | None:
    """How it stands once the archive has acted on this word; None when that takes longer.

    The archive says what it spares before it has counted it, so that none becomes some in a moment, or stays none.
    """
    deadline, counted_by = time.monotonic() + wait_s, float("inf")
    while True:
        found = next((each for each in standings(install) if each.hold == said), None)
        now_s = time.monotonic()
        if found is not None and found.kept:
            counted_by = min(counted_by, now_s + _COUNTED_S)
            if found.events or said.released or now_s >= counted_by:
                return found
        if now_s > deadline:
            return None
        time.sleep(_ASK_EVERY_S)


def _block(standing: Standing) -> str:
    said = standing.hold
    if said.released:
        placed = standing.said[-2] if len(standing.said) > 1 else said
        head = f"RELEASED on {_time(said.at_ms)} by {clean(said.by)}: {clean(said.reason)}"
        held = [f"  placed   {_time(standing.since_ms)} by {clean(placed.by)}: {clean(placed.reason)}"]
    else:
        state = "HELD" if standing.kept else "ASKED FOR, not held yet:"
        head = f"{state} since {_time(standing.since_ms)} without a gap, by {clean(said.by)}: {clean(said.reason)}"
        held = [
            f"  holds    {_held(standing)}",
            f"  audit    says on {counted(standing.checks, 'day')} that it was kept",
        ]
    lost = (
        [f"  MISSING  {standing.missing:,} events that were held are gone: see the audit"] if standing.missing else []
    )
    names = [f"  id       {clean(said.hold_id)}", f"  incident {clean(said.incident_id)}"]
    return "\n".join([head, *names, *held, *lost])


def _held(standing: Standing) -> str:
    until = _time(standing.until_ms) if standing.until_ms is not None else "an hour after the incident's end"
    return f"{standing.events:,} events of {clean(standing.hold.key_id)} from {_time(standing.hold.from_ms)} to {until}"


def _time(ms: int) -> str:
    return rfc3339(ms)[:16].replace("T", " ")
