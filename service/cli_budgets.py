"""The command that shows what is spent of what may be spent."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir, out
from service.lazy import lazy

budgeting = typer.Typer()


@budgeting.command(
    epilog="Examples: `keyfuse budgets`, `keyfuse budgets 'search in production'`, or `keyfuse budgets --json`"
)
def budgets(
    name: Annotated[str, typer.Argument(metavar="[BUDGET]", help="One budget; without it all of budgets.yaml.")] = "",
    config: ConfigDir = CONFIG,
    quotas: Annotated[bool, typer.Option("--quotas", help="Also the daily quotas of keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each instead of a table.")] = False,
) -> None:
    """Where each budget stands: spent, expected, and what is in force because of it."""
    lazy("service.budgets_command").budgets(config, name, quotas=quotas, as_json=as_json, out=out)
