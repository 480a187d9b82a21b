"""What an incident teaches, as a patch of the configuration: proposed, checked, and applied by nobody but people."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from service.config_errors import ConfigErrors
from service.config_folder import load_folder
from service.errors import UserError
from service.evidence_facts import Evidence
from service.evidence_story import normal_usd
from service.follow_up_commands import evidence_of
from service.install import Install
from service.postmortem import ROOM
from service.yaml_patch import patch, with_entry

_ENOUGH: Final = 20  # requests before the incident, to say what is usual
_MOST_NAMED: Final = 20
_UNSEEN_MS: Final = 600_000  # a thief may have begun so long before the first finding


class Change(NamedTuple):
    """One entry to be added."""

    file: str
    section: str
    lines: str  # YAML
    why: str


def propose(config: Path, incident_id: str, *, to: Path | None, out: Console, err: Console) -> None:
    """Print the patch, or write it. UserError when the incident teaches nothing that settings could hold."""
    install = Install.open(config)
    evidence = evidence_of(install, incident_id)
    changes = changes_after(evidence)
    if not changes:
        raise UserError(f"{incident_id} teaches nothing that settings could hold: its key was hardly used before")
    made = patched(config, changes)
    for change in changes:
        err.print(f"{change.file}: {change.why}", markup=False)
    if to is None:
        out.print(made, end="", markup=False)
        return
    try:
        to.write_text(made, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {to}: cannot be written: {error.strerror}") from error
    err.print(f"wrote {to}; to take it: `patch -d {config} -p1 < {to}`, then `keyfuse check`", markup=False)


def changes_after(evidence: Evidence) -> list[Change]:
    """A limit above what was normal, and a list of the models and networks the key was used with before."""
    incident = evidence.incident
    if incident.state == "false_positive":
        return []
    key, found = orjson.dumps(incident.key_id).decode(), list[Change]()
    limit = round(normal_usd(evidence) * ROOM, 2)
    if limit > 0:
        why = f"{ROOM:g} times the most that was normal for the key within a minute"
        found.append(Change("detectors.yaml", "keys", f"{key}: {{usd_per_min: {limit:g}}}\n", why))
    lists = _usual(evidence)
    if lists:
        name = orjson.dumps(f"after {incident.incident_id}").decode()
        lines = [
            f"- name: {name}\n",
            f"  keys: [{key}]\n",
            *(f"  {rule}: {values}\n" for rule, values in lists.items()),
        ]
        why = f"what the key was used with before: {' and '.join(lists)}"
        found.append(Change("policies.yaml", "policies", "".join(lines), why))
    return found


def _usual(evidence: Evidence) -> dict[str, str]:
    """Of the requests before the first finding."""
    if not evidence.events:
        return {}
    first_ms = min((finding.at_ms for finding in evidence.findings), default=evidence.incident.opened_at_ms)
    table = pq.read_table(io.BytesIO(evidence.parquet))
    before = table.filter(pc.less(table["ts_ms"], first_ms - _UNSEEN_MS))
    if before.num_rows < _ENOUGH:
        return {}
    found = {}
    for rule, column in (("allowed_models", "model"), ("networks", "network")):
        values = sorted({value for value in before[column].to_pylist() if value})
        if values and len(values) <= _MOST_NAMED:
            found[rule] = orjson.dumps(values).decode()
    return found


def patched(config: Path, changes: list[Change]) -> str:
    """One patch over all files. UserError when the folder would not be valid any more, with what to write by hand."""
    with tempfile.TemporaryDirectory() as name:
        folder, patches = Path(name) / "d", []
        shutil.copytree(config, folder) if config.is_dir() else folder.mkdir()
        for file in dict.fromkeys(change.file for change in changes):
            path = folder / file
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            after = before
            for change in (each for each in changes if each.file == file):
                after = _added(after, change)
            path.write_text(after, encoding="utf-8")
            patches.append(patch(file, before, after))
        try:
            load_folder(folder)
        except ConfigErrors as error:
            written = "\n".join(f"{each.file}, {each.section}:\n{each.lines}" for each in changes)
            raise UserError(
                f"the settings would not be valid with it ({error.errors[0]}); by hand:\n{written}"
            ) from error
    return "".join(patches)


def _added(text: str, change: Change) -> str:
    try:
        return with_entry(text, change.section, change.lines)
    except ValueError as error:
        raise UserError(f"{change.file}: {error}") from error
