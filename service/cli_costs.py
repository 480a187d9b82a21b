"""The commands of the cost plane that only look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir, out
from service.lazy import lazy

spending = typer.Typer()


@spending.command(
    epilog="Examples: `keyfuse costs`, `keyfuse costs --by app,feature --team search` or "
    "`keyfuse costs --month 2026-10 --csv october.csv --picture october.png`"
)
def costs(  # noqa: PLR0913, PLR0917 - the options of one command
    config: ConfigDir = CONFIG,
    by: Annotated[
        str,
        typer.Option(
            help="Split by some of team, app, feature, env, owner, key, provider, model, user, day.", metavar="NAMES"
        ),
    ] = "team",
    month: Annotated[str, typer.Option(help="A month like 2026-10. Default: this one.", metavar="M")] = "",
    since: Annotated[str, typer.Option("--from", help="From then on: 7d, a date, RFC 3339.", metavar="T")] = "",
    until: Annotated[str, typer.Option(help="Up to then.", metavar="T")] = "",
    team: Annotated[str, typer.Option(help="Of this team alone ...", metavar="T")] = "",
    application: Annotated[str, typer.Option("--app", help="... and of this app ...", metavar="A")] = "",
    env: Annotated[str, typer.Option(help="... and of this environment.", metavar="E")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the showback as CSV.", metavar="FILE")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write it as Parquet.", metavar="FILE")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw it as PNG.", metavar="FILE")] = None,
) -> None:
    """What was spent, on what, and where the month is going: USD per request, per 1,000 output tokens, per user."""
    command = lazy("service.costs_command")
    said = command.Said(month, since, until, by, team, application, env, as_json, csv, parquet, picture)
    command.costs(config, said, out=out)
