"""`keyfuse tune`: proposes thresholds for so many alerts a week, and shows what more or fewer would cost."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pyarrow as pa
from pydantic import SecretStr
from rich.console import Console

from schemas.fingerprint import Fingerprinter
from service.backtest_command import check_output, judged_from, written
from service.errors import UserError
from service.history import Wanted, in_steps, open_history
from service.install import Install, wall_ms
from service.labels import marks_for
from service.tune import tune
from service.tune_picture import draw
from service.tune_report import as_file, as_json, lines
from sources.batch import BatchParser, RawRecord
from sources.pricing import PriceBook

FILE: Final = "detectors.proposed.yaml"


def main(
    wanted: Wanted, config: Path, *, per_week: float, learn_hours: float | None, output: Path, out: Console,
    err: Console,
) -> None:  # fmt: skip
    """The table goes to the terminal; the proposed file, the picture and the figures to `output`."""
    install = Install.open(config)
    _check_apart(output, config)
    check_output(output)
    since, until = wanted.bounds(wall_ms())
    marks = marks_for(install, wanted)
    with open_history(install, wanted.files, from_ms=since, until_ms=until) as history:
        tuned = tune(
            install.folder, in_steps(history, label="playing", err=err), per_week=per_week, marks=marks,
            parse=PlantedEvents(), from_ms=judged_from(history, learn_hours), last_ms=history.last_ms,
        )  # fmt: skip
    out.print("\n".join(lines(tuned, what=history.what)), markup=False)
    (output / FILE).write_text(as_file(install.folder.detectors, tuned, what=history.what), encoding="utf-8")
    draw(tuned, output / "tune.png")
    written(output, "tune.json", as_json(tuned, what=history.what))
    again = shlex.join(["keyfuse", "backtest", str(output / FILE), *wanted.files])
    out.print(f"\nwritten to {output}: {FILE}, tune.png, tune.json\nnext: `{again}`", markup=False)


def _check_apart(output: Path, config: Path) -> None:
    """A proposal among the files in force would soon be taken for one of them."""
    if output.resolve() == config.resolve():
        raise UserError(f"--out {output}: the folder in force; name another, for example tuned")


class PlantedEvents:
    """Events of planted thefts to rows; they name a key_id, so that no pepper is needed."""

    def __init__(self) -> None:
        self._parser = BatchParser(fingerprinter=Fingerprinter(SecretStr("")), prices=PriceBook(), max_future_s=None)

    def __call__(self, events: list[bytes]) -> pa.RecordBatch:
        records = [RawRecord(0, number, line, None) for number, line in enumerate(events)]
        return self._parser.parse(records, topic="planted", now_ms=0).frame
