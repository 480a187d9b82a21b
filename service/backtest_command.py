"""`keyfuse backtest`: a candidate against the configuration in force, over recorded history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console

from alerting.words import counted
from service.backtest import backtest
from service.backtest_report import as_json, lines, lost_labels
from service.config_folder import Folder, load_detectors, load_folder
from service.config_tree import FILES
from service.errors import UserError
from service.history import History, Wanted, in_steps, open_history
from service.install import Install, wall_ms
from service.labels import exceptions_for, marks_for

_LEARN_MS: Final = 24 * 3_600_000
_LEARN_SHARE: Final = 4  # of a short history a quarter only teaches


def main(
    candidate: Path, wanted: Wanted, config: Path, *, learn_hours: float | None, output: Path | None, out: Console,
    err: Console,
) -> bool:  # fmt: skip
    """Compare; the table goes to the terminal, everything to `output`. False: the candidate loses a label."""
    install = Install.open(config)
    folder = folder_of(candidate, install.folder)
    check_output(output)
    since, until = wanted.bounds(wall_ms())
    marks, exceptions = marks_for(install, wanted), exceptions_for(install, wanted.files)
    with open_history(install, wanted.files, from_ms=since, until_ms=until) as history:
        result = backtest(
            install.folder, folder, in_steps(history, label="playing", err=err), offered=install.offered(),
            marks=marks, exceptions=exceptions, from_ms=judged_from(history, learn_hours), last_ms=history.last_ms,
        )  # fmt: skip
    out.print("\n".join(lines(result, what=history.what)), markup=False)
    if output is not None:
        file = written(output, "backtest.json", as_json(result, what=history.what))
        out.print(f"\nwritten to {file}", markup=False)
    lost = lost_labels(result)
    if lost:
        err.print(f"keyfuse: the candidate loses {counted(lost, 'label')} that must be kept right", markup=False)
    return lost == 0


def folder_of(candidate: Path, current: Folder) -> Folder:
    """A folder as it is; a file in the place of the current detectors.yaml. Broker and store stay the current ones."""
    if candidate.is_dir():
        if not any((candidate / file.name).is_file() for file in FILES):
            names = ", ".join(sorted(file.name for file in candidate.glob("*.y*ml")))
            raise UserError(
                f"{candidate}: no configuration folder, it has no detectors.yaml"
                + (f"; name a file in it: {names}" if names else "")
            )
        return replace(load_folder(candidate), wiring=current.wiring)
    return replace(current, detectors=load_detectors(candidate))


def judged_from(history: History, learn_hours: float | None) -> int:
    """Where the time ends that only teaches: a day, or a quarter of a short history."""
    length_ms = history.last_ms + 1 - history.first_ms
    if learn_hours is None:
        return history.first_ms + min(_LEARN_MS, length_ms // _LEARN_SHARE)
    if learn_hours * 3_600_000 >= length_ms:
        raise UserError(
            f"--learn-hours {learn_hours:g}: the history has no more than {length_ms / 3_600_000:.1f} hours"
        )
    return history.first_ms + int(learn_hours * 3_600_000)


def check_output(output: Path | None) -> None:
    """Before the work, not after it."""
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise UserError(f"--out {output}: a file; name a folder")
    output.mkdir(parents=True, exist_ok=True)


def written(folder: Path, name: str, content: object) -> Path:
    """JSON that is the same for the same content."""
    file = folder / name
    file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    return file
