"""The commands of tuning without code: look, propose, compare, learn beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from service.cli_options import CONFIG, ConfigDir, KeyId, err, folder, out
from service.lazy import lazy

tuning = typer.Typer()
LABEL_LOST: Final = 3  # exit code
Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE]...", help=".jsonl, .jsonl.gz, .parquet or -; without files the stored history."),
]
Since = Annotated[
    str, typer.Option("--from", help="From then on: RFC 3339, a date, or 14d (so long ago).", metavar="T")
]
Until = Annotated[str, typer.Option("--until", help="Up to then.", metavar="T")]
Labels = Annotated[
    str,
    typer.Option(
        "--labels", help="Marks to go by, from `keyfuse marks --export`; default: the store's.", metavar="FILE"
    ),
]

LearnHours = Annotated[
    float | None,
    typer.Option(help="So much at the beginning only teaches. Default: 24, at most a quarter.", min=0, metavar="N"),
]
Output = Annotated[Path | None, typer.Option("--out", help="Folder for all of it as files.", metavar="DIR")]
Current = Annotated[
    Path,
    typer.Option(
        "--against", "--config", envvar="KEYFUSE_CONFIG", help="The folder in force.", metavar="DIR", callback=folder
    ),
]


@tuning.command(epilog="Example: `keyfuse explain fp1:5f3a... --at 2026-11-23T10:03:15`")
def explain(
    key_id: KeyId,
    at: Annotated[
        str, typer.Option(help="When: RFC 3339, `2026-11-23 10:03` in UTC, or 2h (so long ago).", metavar="TIME")
    ],
    files: Files = None,
    config: ConfigDir = CONFIG,
    since: Since = "",
    within: Annotated[
        int, typer.Option(help="Look at the strongest second so many seconds around.", min=0, max=3600, metavar="S")
    ] = 60,
    labels: Labels = "",
) -> None:
    """Every family's score, threshold and baseline for one key at one time, and why it did or did not fire."""
    wanted = lazy("service.history").Wanted(tuple(files or ()), since, "", labels)
    lazy("service.explain_command").main(key_id, at, wanted, config, within_s=within, out=out, err=err)


@tuning.command("warm-up", epilog="Example: `keyfuse warm-up last-month.jsonl.gz` or `keyfuse warm-up --from 30d`")
def warm_up(
    files: Files = None,
    config: ConfigDir = CONFIG,
    since: Since = "",
    until: Until = "",
    labels: Labels = "",
    replace: Annotated[bool, typer.Option("--replace", help="Throw away what was learned before.")] = False,
) -> None:
    """Learn what is normal from history before going live, so that the first minute is judged by it."""
    wanted = lazy("service.history").Wanted(tuple(files or ()), since, until, labels)
    lazy("service.warm_up_command").main(wanted, config, replace=replace, out=out, err=err)


@tuning.command(
    epilog="Examples: `keyfuse backtest detectors.new.yaml last-month.jsonl.gz` or "
    "`keyfuse backtest new.d --from 30d --labels marks.ndjson --out report`"
)
def backtest(
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", help="A file like detectors.yaml, or a folder.")],
    files: Files = None,
    config: Current = CONFIG,
    since: Since = "",
    until: Until = "",
    labels: Labels = "",
    learn_hours: LearnHours = None,
    output: Output = None,
) -> None:
    """A candidate against the configuration in force: alerts, incidents gained and lost, thefts caught, cuts, USD.

    Exit code 3: it loses a label that the configuration in force keeps right.
    """
    wanted = lazy("service.history").Wanted(tuple(files or ()), since, until, labels)
    kept = lazy("service.backtest_command").main(
        candidate, wanted, config, learn_hours=learn_hours, output=output, out=out, err=err
    )
    if not kept:
        raise typer.Exit(LABEL_LOST)


@tuning.command(epilog="Example: `keyfuse shadow` or `keyfuse shadow --from 24h --out report`")
def shadow(
    config: ConfigDir = CONFIG, since: Since = "", until: Until = "", labels: Labels = "", output: Output = None
) -> None:
    """What the candidate in detectors.shadow.yaml said more and less than the version in force, since it is there."""
    wanted = lazy("service.history").Wanted((), since, until, labels)
    lazy("service.shadow_command").main(wanted, config, output=output, out=out)


@tuning.command(epilog="Example: `keyfuse tune --alerts-per-week 3 last-month.jsonl.gz` or `keyfuse tune --from 30d`")
def tune(
    files: Files = None,
    config: ConfigDir = CONFIG,
    alerts_per_week: Annotated[
        float, typer.Option(help="So many incidents in all that people can look at.", min=0, metavar="N")
    ] = 5,
    since: Since = "",
    until: Until = "",
    labels: Labels = "",
    learn_hours: LearnHours = None,
    output: Annotated[
        Path, typer.Option("--out", help="Folder for the proposed file and the picture.", metavar="DIR")
    ] = Path("tuned"),
) -> None:
    """Propose thresholds that come to N alerts a week, and show the trade-off. Changes nothing in force."""
    wanted = lazy("service.history").Wanted(tuple(files or ()), since, until, labels)
    lazy("service.tune_command").main(
        wanted, config, per_week=alerts_per_week, learn_hours=learn_hours, output=output, out=out, err=err
    )
