"""docs/detectors/*.md and the tables in docs/detectors.md, from the detectors themselves.

`python -m service.detector_pages [--out docs/detectors]` writes one page for each, and renews the tables of the page
beside the folder (`docs/detectors.md`), where there is one.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

from detectors import calibration
from detectors.ensemble import MODULES
from detectors.explain import number, percent
from detectors.families import CALIBRATED, LEARNED
from detectors.population import Population
from detectors.state import KeyTable
from schemas.config.detectors import DetectorsConfig
from schemas.records import CERTAIN, EVIDENCE
from service.config_docs import settings_table
from service.config_settings import Setting, settings_of
from service.detector_source import Note, fields_of, figures_in, sentences_of, words_of

BEGIN: Final = "<!-- detectors: made by `python -m service.detector_pages`; a test keeps it true -->\n"
END: Final = "<!-- /detectors -->\n"
_HEAD: Final = """# {name}

<!-- Made by `python -m service.detector_pages`; a test keeps it true. -->

One of the [detectors](../detectors.md). What its settings do to your alerts: [tuning](../tuning.md).
"""
_CERTAIN: Final = (
    "Certain: nothing is learned. It speaks where the raw score is above 1, in a key's first minute too, and is enough "
    "for a cut by itself."
)
_YES_OR_NO: Final = "Not calibrated: it speaks where the raw score is above 1."


def pages() -> dict[str, str]:
    """The page of each detector, by file name."""
    return {f"{name}.md": _page(name, module) for name, module in MODULES.items()}


def with_tables(overview: str) -> str:
    """The hand-written page with what stands between its marks made anew.

    Raises ValueError when it has no marks.
    """
    before, begin, rest = overview.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the lines {BEGIN.strip()} and {END.strip()} are missing")
    return "".join((before, begin, "\n", _tables(), "\n", end, after))


def settings_on(name: str) -> list[Setting]:
    """A detector's own settings, then those that are stronger for one environment or key."""
    every = list(settings_of(DetectorsConfig))
    own = [setting for setting in every if setting.path[0] == name]
    names = {setting.path[-1] for setting in own}
    return own + [each for each in every if each.path[1:2] == ("<name>",) and each.path[-1] in names]


def _page(name: str, module: ModuleType) -> str:
    lines = [_HEAD.format(name=name), inspect.cleandoc(module.__doc__ or ""), "", *_facts(name, module)]
    lines += [*_score(module), *_says(module), "## When it speaks", "", *_speaks(name, module.FAMILY), ""]
    lines += ["## Settings", "", *settings_table(settings_on(name))]
    if module.FIELDS:
        lines += ["## What it keeps of a key", "", *_table(("field", "bytes", "what it is"), _named(fields_of(module)))]
    figures = figures_in(inspect.getsource(module))
    if figures:
        lines += ["## Fixed figures", "", "In the code, the same for every key; no settings.", ""]
        values = [each._replace(value=f"`{each.value}`") for each in figures]
        lines += _table(("name", "value", "what it is"), _named(values))
    return "\n".join(lines).rstrip() + "\n"


def _facts(name: str, module: ModuleType) -> list[str]:
    return [
        "| | |",
        "|---|---|",
        f"| family of its findings | `{module.FAMILY}` |",
        f"| kind of evidence | {_evidence(module.FAMILY)} |",
        f"| settings | `{name}` in `detectors.yaml` |",
        f"| state | {KeyTable(module.FIELDS).row_bytes} bytes for each key |",
        f"| code | `{module.__name__.replace('.', '/')}.py` |",
        "",
    ]


def _evidence(family: str) -> str:
    """Certain families are no evidence: they need none."""
    return "certain" if family in CERTAIN else " and ".join(sorted(EVIDENCE[family]))


def _score(module: ModuleType) -> list[str]:
    """Meaning and example of the raw score, and what is made of it before it is calibrated."""
    prose, code = words_of(module.step.__doc__)
    lines = ["## The raw score", "", prose, ""]
    if hasattr(module, "judged"):
        lines += [f"**Before it is calibrated:** {words_of(module.judged.__doc__)[0]}", ""]
    return [*lines, "```python", code, "```", ""] if code else lines


def _says(module: ModuleType) -> list[str]:
    rows = [
        (f"`{told.detector}`", number(raw), told.what, ", ".join(f"`{name}`" for name in told.evidence))
        for raw, told in sentences_of(module)
    ]
    table = _table(("`detector`", "raw score", "sentence", "`evidence`"), rows)
    return ["## What it says", "", "Of the key in the example:", "", *table] if rows else []


def _speaks(name: str, family: str) -> list[str]:
    """From the raw score to an alarm, with the figures that stand in until there is data."""
    if family not in LEARNED:
        return [_CERTAIN if family in CERTAIN else _YES_OR_NO]
    learned = LEARNED[family]
    rate = getattr(DetectorsConfig(), name).alarm_per_key_week
    lines = [
        "Calibrated: what counts is how often healthy keys of the same environment and provider reach a raw score",
        "within ten minutes. Before that is known, these figures stand in:",
        "",
        f"- {percent(learned.chance)} of a healthy key's 10-minute windows have a raw score above 0; "
        f"each {number(learned.fold)} more is 2.7 times rarer.",
        f"- One window in {number(1 / learned.change)} brings a change that is healthy all the same; of these each "
        f"{number(learned.change_fold)} more is 2.7 times rarer. No quiet week disproves them.",
        f"- So a new install hears of it from a raw score of {number(_first_told(family, rate))} on, at the default "
        f"`{name}.alarm_per_key_week` of {number(rate)}.",
    ]
    if isfinite(learned.cap):
        lines.append(
            f"- A raw score above {number(learned.cap)} counts as alarmed: its window is learned with caution. "
            f"A key's windows teach its cohort once {learned.mature} of them were active."
        )
    return lines


def _first_told(family: str, alarm_per_key_week: float) -> float:
    """The raw score at which an install without data reaches the threshold."""
    scores = Population(DetectorsConfig()).tables[0, CALIBRATED.index(family)]
    floor = calibration.threshold(alarm_per_key_week)
    return float(np.interp(floor, scores, np.arange(len(scores)) * calibration.BIN))


def _tables() -> str:
    rows = [
        (f"[{name}](detectors/{name}.md)", _first_paragraph(module), _evidence(module.FAMILY))
        for name, module in MODULES.items()
    ]
    placed = {setting.key for name in MODULES for setting in settings_on(name)}
    shared = [setting for setting in settings_of(DetectorsConfig) if setting.key not in placed]
    lines = _table(("detector", "what it sees", "kind of evidence"), rows)
    return "\n".join([*lines, "Settings that all of them share:", "", *settings_table(shared)]).rstrip() + "\n"


def _first_paragraph(module: ModuleType) -> str:
    return " ".join(inspect.cleandoc(module.__doc__ or "").partition("\n\n")[0].split())


def _named(notes: list[Note]) -> list[tuple[str, ...]]:
    return [(f"`{note.name}`", note.value, note.meaning) for note in notes]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:], ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages, and the tables of the page beside the folder."""
    parser = argparse.ArgumentParser(prog="python -m service.detector_pages", description="Pages of all detectors.")
    parser.add_argument("--out", type=Path, default=Path("docs/detectors"), help="folder of the pages")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (out / name).write_text(text, encoding="utf-8")
    overview = out.with_suffix(".md")
    if overview.exists():
        overview.write_text(with_tables(overview.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
