"""What is due of keys, and the evidence of what was done: `keyfuse keys due` and `keyfuse keys rotations`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from alerting.words import clean
from controls.registry import Registry
from controls.rotation import DAY_MS, due_of
from schemas.key_record import KeyRecord
from schemas.life import RotationEvidence
from schemas.records import rfc3339
from service.install import Install, wall_ms
from service.key_commands import registry_of
from service.query_commands import answer_of


def due(config: Path, *, days: float, as_json: bool, out: Console) -> None:
    """One line each, the most overdue first."""
    now_ms = wall_ms()
    rows = due_rows(registry_of(Install.open(config)), now_ms, round(days * DAY_MS))
    for row in rows:
        out.print(json.dumps(row) if as_json else _due_line(row, now_ms), markup=False)
    if not rows and not as_json:
        out.print(f"nothing is due within {days:g} days")


def due_rows(registry: Registry, now_ms: int, within_ms: int) -> list[dict[str, Any]]:
    """What is due, and old keys that are not proved to be refused. Also what the governance report counts."""
    found = []
    for entry in registry.entries().values():
        rotation = due_of(entry)
        if rotation is not None and rotation.at_ms <= now_ms + within_ms:
            found.append(_row(entry, "overdue" if rotation.at_ms <= now_ms else "due", rotation.at_ms, rotation.why))
        elif entry.state == "retiring" and entry.valid_until_ms is not None:
            over = entry.valid_until_ms <= now_ms
            found.append(_row(entry, "not_proved" if over else "overlap", entry.valid_until_ms, entry.change))
    return sorted(found, key=lambda row: (row["due_ms"], row["key_id"]))


def rotations(config: Path, *, as_json: bool, out: Console) -> None:
    """Of the audit, oldest first."""
    rows = answer_of(Install.open(config), "rotations", {})
    for row in rows:
        if as_json:
            out.print(json.dumps(row), markup=False)
            continue
        one = RotationEvidence.model_validate(row)
        late_ms = one.rotated_at_ms - one.due_at_ms if one.due_at_ms is not None else 0
        late = f" ({_span(late_ms)} late)" if late_ms > 0 else ""
        out.print(
            f"{_time(one.rotated_at_ms)}{late}  {clean(one.old_key_id)} → {clean(one.new_key_id)}, by {clean(one.by)}\n"
            f"    refused {_time(one.refused_at_ms)}: {clean(one.proof, 500)}", markup=False
        )  # fmt: skip
    if not rows and not as_json:
        out.print("no rotation has ended yet")


def _row(entry: KeyRecord, standing: str, due_ms: int, why: str) -> dict[str, Any]:
    return {
        "standing": standing, "key_id": entry.key_id, "owner": entry.owner, "team": entry.team, "app": entry.app,
        "env": entry.env, "due_ms": due_ms, "why": why,
    }  # fmt: skip


def _due_line(row: dict[str, Any], now_ms: int) -> str:
    away = _span(abs(row["due_ms"] - now_ms))
    when = {
        "overdue": f"OVERDUE {away}" if row["due_ms"] else "OVERDUE", "due": f"due in {away}",
        "not_proved": f"NOT PROVED {away}", "overlap": f"served for {away}",
    }[row["standing"]]  # fmt: skip
    owner = clean(f"{row['team']}/{row['app']} in {row['env']}, {row['owner'] or 'no owner'}", 100)
    return f"{when:<18} {clean(row['key_id'])} ({owner}): {clean(row['why'], 300)}"


def _span(span_ms: int) -> str:
    return f"{span_ms / DAY_MS:.0f} d" if span_ms >= DAY_MS else f"{span_ms / 3_600_000:.0f} h"


def _time(at_ms: int) -> str:
    return f"{rfc3339(at_ms)[:16].replace('T', ' ')} UTC"
