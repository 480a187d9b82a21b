"""`keyfuse shadow`: what the candidate on trial said more and less than the version in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from containment.providers.base import StepsOf
from schemas.config import DetectorsConfig
from schemas.records import TOLD, AuditRow, Finding, Mark
from service.backtest import Backtest, unmatched
from service.backtest_command import check_output, written
from service.backtest_labels import labelled, scenarios
from service.backtest_report import as_json, body, minute
from service.backtest_side import Side
from service.config_tree import SHADOW, Folder
from service.errors import UserError
from service.history import Wanted
from service.install import Install, wall_ms
from service.mark_commands import all_marks, labels_of
from service.query_commands import answer_of
from streams.shadow import version_of


def main(wanted: Wanted, config: Path, *, output: Path | None, out: Console) -> None:
    """Compare what both said since the candidate is on trial, or between two times."""
    install, now_ms = Install.open(config), wall_ms()
    check_output(output)
    since, until = wanted.bounds(now_ms)
    until = now_ms + 1 if until is None else until
    answer = answer_of(install, "trial", {"from_ms": since or 0, "until_ms": until})
    started = [AuditRow.model_validate(row) for row in answer["started"]]
    from_ms = since if since is not None else began(install, started)
    live, shadow = (_findings(answer[name], from_ms) for name in ("live", "shadow"))
    candidate = install.folder.shadow or install.folder.detectors
    marks = labels_of(wanted.labels) if wanted.labels else all_marks(install)
    result = compared(install.folder, candidate, live, shadow, offered=install.offered(), marks=marks,
                      from_ms=from_ms, last_ms=until - 1)  # fmt: skip
    what = f"{len(live):,} findings in force, {len(shadow):,} on trial"
    head = f"{what}, from {minute(from_ms)} to {minute(until - 1)} UTC"
    out.print("\n".join([head, *unheard(install, started, from_ms), *body(result)]), markup=False)
    if output is not None:
        out.print(f"\nwritten to {written(output, 'shadow.json', as_json(result, what=what))}", markup=False)


def began(install: Install, started: list[AuditRow]) -> int:
    """Since when the candidate of the folder was heard without a break; the newest one when it is gone."""
    if not started and install.folder.shadow is None:
        raise UserError(
            f"no candidate was on trial yet: put one into {install.config_dir / SHADOW.name}, or name a time (--from)"
        )
    version = version_of(install.folder.shadow) if install.folder.shadow else started[-1].result
    newest = max((at for at, row in enumerate(started) if row.result == version), default=None)
    if newest is None:
        raise UserError(f"{SHADOW.name} was not heard yet: a worker takes it within seconds, then it needs traffic")
    first = next((at + 1 for at in range(newest, -1, -1) if started[at].result != version), 0)
    return started[first].at_ms


def unheard(install: Install, started: list[AuditRow], from_ms: int) -> Iterator[str]:
    """A warning where the comparison begins before the candidate did: nothing that was told then can be its loss."""
    try:
        heard_ms = began(install, started)
    except UserError as error:
        yield str(error)
        return
    if from_ms < heard_ms:
        yield f"the candidate is heard since {minute(heard_ms)} UTC: what was told before that is not its loss"


def _findings(rows: Iterable[Mapping[str, Any]], from_ms: int) -> list[Finding]:
    return [found for row in rows if (found := Finding.model_validate(row)).at_ms >= from_ms]


def compared(
    current: Folder, candidate: DetectorsConfig, live: list[Finding], shadow: list[Finding], *,
    offered: Mapping[str, StepsOf], marks: list[Mark], from_ms: int, last_ms: int,
) -> Backtest:  # fmt: skip
    """What both said as incidents, gained and lost, as in a backtest. Reports from outside are nobody's setting."""
    live = [found for found in live if found.family not in TOLD]
    sides = (
        Side(current, offered, from_ms=from_ms),
        Side(replace(current, detectors=candidate), offered, from_ms=from_ms),
    )
    sides[0].take(live)
    sides[1].take(shadow)
    ours, theirs = (tuple(side.incidents()) for side in sides)
    labels = labelled(marks, ours, theirs, from_ms=from_ms, last_ms=last_ms, ledger=None)
    silence_ms = int(1000 * current.responses.resolve_after_s)
    return Backtest(
        current=ours, candidate=theirs, gained=tuple(unmatched(theirs, ours, silence_ms)),
        lost=tuple(unmatched(ours, theirs, silence_ms)),
        labels=labels, untried=len(scenarios(marks)) - len(labels),
        one_core=True, from_ms=from_ms, last_ms=last_ms, keys=len({found.key_id for found in (*live, *shadow)}),
        events=0, usd=0.0,
    )  # fmt: skip
