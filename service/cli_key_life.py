"""`keyfuse keys`, the commands for a key's life: a new secret, another owner, what is due, who has left."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli_options import CONFIG, By, ConfigDir, Reason, err, out
from service.lazy import lazy

life = typer.Typer()
OneKey = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `keyfuse keys list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object for each instead of words.")]
Wait = Annotated[float, typer.Option(help="So many seconds for an answer.", min=0, max=3600, metavar="S")]


def _commands() -> Any:  # noqa: ANN401 - a module
    return lazy("service.key_life_commands")


@life.command(
    epilog="Examples: `keyfuse keys rotate fp1:5f3a... --overlap-h 48` or, for a key that its provider made, "
    "`keyfuse keys rotate key_abc --to key_def`"
)
def rotate(
    key: OneKey,
    to: Annotated[str, typer.Option(help="The key of keys.yaml that takes over.", metavar="KEY_ID")] = "",
    overlap_h: Annotated[
        float | None, typer.Option(help="Both are served for so many hours.", min=0, max=720, metavar="H")
    ] = None,
    wait: Wait = 30,
    config: ConfigDir = CONFIG,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Give a key a new secret, shown once; the old one is served meanwhile, then refused, and that is proved."""
    command = _commands()
    said = command.Said(config, reason, by, wait, out, err)
    raise typer.Exit(command.rotate(key, to, overlap_h, said))


@life.command(epilog="Example: `keyfuse keys transfer fp1:5f3a... rosa --reason 'vera changed teams'`")
def transfer(
    key: OneKey,
    to: Annotated[str, typer.Argument(metavar="PERSON", help="Who answers for it, as in people.yaml.")],
    wait: Wait = 30,
    config: ConfigDir = CONFIG,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Give a key another owner. Its secret, which the one before knows, is due to be changed."""
    command = _commands()
    raise typer.Exit(command.transfer(key, to, command.Said(config, reason, by, wait, out, err)))


@life.command(epilog="Example: `keyfuse keys leave vera --to rosa`")
def leave(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who has left, as in people.yaml.")],
    to: Annotated[
        str, typer.Option(help="Who takes all their keys. Default: each team's approver.", metavar="PERSON")
    ] = "",
    wait: Wait = 30,
    config: ConfigDir = CONFIG,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Somebody has left: others answer for their keys at once, and each secret is due to be changed."""
    command = _commands()
    raise typer.Exit(command.leave(person, to, command.Said(config, reason, by, wait, out, err)))


@life.command(epilog="Example: `keyfuse keys revalidate fp1:5f3a... --reason 'the nightly batch uses it'`")
def revalidate(key: OneKey, wait: Wait = 30, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Say that a key is still needed, before anybody asks; takes back what was done because nobody answered."""
    command = _commands()
    raise typer.Exit(command.revalidate(key, command.Said(config, reason, by, wait, out, err)))


@life.command(epilog="Example: `keyfuse keys gone key_abc --reason 'deleted in the console, a call gives 401'`")
def gone(key: OneKey, wait: Wait = 30, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Say how you have seen that a replaced key is refused, where Keyfuse cannot try it. Ends its rotation."""
    command = _commands()
    raise typer.Exit(command.gone(key, command.Said(config, reason, by, wait, out, err)))


@life.command(epilog="Examples: `keyfuse keys due` or `keyfuse keys due --days 30 --json`")
def due(
    days: Annotated[float, typer.Option(help="Also what is due within so many days.", min=0, metavar="N")] = 14,
    config: ConfigDir = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Secrets that are due to be changed, the most overdue first, and old keys that are not proved to be refused."""
    lazy("service.key_due").due(config, days=days, as_json=as_json, out=out)


@life.command(epilog="Examples: `keyfuse keys rotations` or `keyfuse keys rotations --json > evidence.ndjson`")
def rotations(config: ConfigDir = CONFIG, as_json: AsJson = False) -> None:
    """Each rotation that ended: who, when, the old and the new key, and the proof that the old one is refused."""
    lazy("service.key_due").rotations(config, as_json=as_json, out=out)
