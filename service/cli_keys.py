"""`keyfuse keys`: who spends what, and what becomes of keys: asked for, approved, looked back on."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir, out
from service.lazy import lazy

keys = typer.Typer()


@keys.callback(invoke_without_command=True, epilog="Example: `keyfuse keys --hours 24`")
def seen(
    context: typer.Context,
    config: ConfigDir = CONFIG,
    hours: Annotated[float, typer.Option(help="Used within the last hours.", min=0, max=1_000_000, metavar="N")] = 24,
) -> None:
    """Keys seen in use, dearest first; with a subcommand the life of one key."""
    if context.invoked_subcommand is None:
        lazy("service.query_commands").keys(config, hours=hours, out=out)
