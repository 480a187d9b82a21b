"""`keyfuse replay --report FILE.html`: both plays of the events as one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from alerting.picture import picture
from service.config_tree import Folder
from service.errors import UserError
from service.replay import ReplayResult
from service.replay_report_facts import gather
from service.replay_report_page import page
from service.replay_report_settings import shown


def write_report(
    path: Path, table: pa.Table, folder: Folder, *, without: ReplayResult, with_cuts: ReplayResult,
    files_named: Sequence[str], latency_s: float,
) -> None:  # fmt: skip
    """Write the page; UserError when there is nothing to report on, or it cannot be written."""
    if table.num_rows == 0:
        raise UserError(f"--report {path}: no event could be read, so there is nothing to report on")
    facts = gather(table, without, with_cuts)
    names = [Path(name).name or name for name in files_named]
    text = page(facts, shown(folder), files_named=names, latency_s=latency_s, draw=picture)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--report {path}: cannot be written: {error.strerror}") from error
