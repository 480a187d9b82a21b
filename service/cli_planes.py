"""Commands on what the planes hold: what a theft of each key could cost, and what is there against it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir, out
from service.errors import UserError
from service.lazy import lazy

planes = typer.Typer()


def _proposed(path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise UserError(f"--proposed {path}: no such folder; copy yours and change the copy")
    return path


@planes.command(
    "blast-radius",
    epilog="Examples: `keyfuse blast-radius`, `keyfuse blast-radius fp1:5f3a...`, or in a CI job "
    "`keyfuse blast-radius --env prod --check`",
)
def blast_radius(  # noqa: PLR0913, PLR0917 - each option of a command is an argument
    key_id: Annotated[str, typer.Argument(metavar="[KEY_ID]", help="One key; without it all of the registry.")] = "",
    team: Annotated[str, typer.Option(help="The keys of one team.", metavar="TEAM")] = "",
    env: Annotated[str, typer.Option(help="The keys of one environment.", metavar="ENV")] = "",
    all_keys: Annotated[bool, typer.Option("--all", help="All registered keys; the default.")] = False,
    proposed: Annotated[
        Path | None,
        typer.Option(help="Another folder: what the change would make of it.", metavar="DIR", callback=_proposed),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Draw it into this PNG.", metavar="FILE")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 when a key passes the acceptable loss of its environment.")
    ] = False,
    config: ConfigDir = CONFIG,
) -> None:
    """What a thief of each key could spend at worst in an hour and a day, where it ends, and what to add first."""
    if all_keys and (key_id or team or env):
        raise UserError("--all goes with no key, team or environment: leave one of them out")
    command = lazy("service.blast_command")
    failed = command.blast_radius(
        config, command.Which(key_id, team, env), proposed=proposed, as_json=as_json, picture=picture, check=check,
        out=out,
    )  # fmt: skip
    raise typer.Exit(failed)


@planes.command("threat-model", epilog="Example: `keyfuse threat-model --team search --out threats.md`")
def threat_model(
    team: Annotated[str, typer.Option(help="The keys of one team.", metavar="TEAM")] = "",
    env: Annotated[str, typer.Option(help="The keys of one environment.", metavar="ENV")] = "",
    to: Annotated[Path | None, typer.Option("--out", help="Write it into this file.", metavar="FILE")] = None,
    config: ConfigDir = CONFIG,
) -> None:
    """The threat model of your own keys: which of them have nothing against which threat, and what that could cost."""
    lazy("service.threat_command").threat_model(config, team=team, env=env, to=to, out=out)
