"""The command for the gate."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir
from service.lazy import lazy

gates = typer.Typer()


@gates.command(epilog="Example: `keyfuse gate --port 8322`; run several, each with a port or a machine of its own")
def gate(
    config: ConfigDir = CONFIG,
    port: Annotated[
        int | None, typer.Option(help="Listen here instead of gate.port.", min=0, max=65535, metavar="PORT")
    ] = None,
) -> None:
    """Run one gate: it answers, before each call, whether the key may make it. Gateways ask it over HTTP."""
    lazy("service.gate_command").main(config, port=port)
