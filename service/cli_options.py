"""What the commands have in common: where they print, and the options that several take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from service.errors import UserError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
CONFIG: Final = Path("keyfuse.d")


def folder(path: Path) -> Path:
    """Without a folder the defaults hold, but a folder that somebody names has to be there."""
    if path != CONFIG and not path.is_dir():
        raise UserError(f"--config {path}: no such folder; `keyfuse init --config {path}` makes one")
    return path


_CONFIG_HELP = "Folder with the YAML files."
ConfigDir = Annotated[
    Path, typer.Option("--config", envvar="KEYFUSE_CONFIG", help=_CONFIG_HELP, metavar="DIR", callback=folder)
]
NewConfigDir = Annotated[Path, typer.Option("--config", envvar="KEYFUSE_CONFIG", help=_CONFIG_HELP, metavar="DIR")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `keyfuse keys` shows it; never the secret itself.")]
Reason = Annotated[str, typer.Option(help="Why; goes to the audit.", metavar="TEXT")]
By = Annotated[str, typer.Option(help="Who asks; goes to the audit. Default: your login name.", metavar="NAME")]
