"""The commands for acting on more than one fact at a time: look before you cut, and the switch for emergencies."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, By, ConfigDir, KeyId, Reason, out
from service.lazy import lazy

containing = typer.Typer()


@containing.command(epilog="Example: `keyfuse approve fp1:5f3a... --reason 'the owner says it is not theirs'`")
def approve(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Stand behind the step that waits for a person. What cannot be undone needs two of them in production."""
    lazy("service.request_commands").say(config, key_id, "approve", reason=reason, by=by, out=out)


@containing.command(epilog="Example: `keyfuse reject fp1:5f3a... --reason 'our nightly batch'`")
def reject(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Say no to the step that waits: it is not ordered again by itself in this incident."""
    lazy("service.request_commands").say(config, key_id, "reject", reason=reason, by=by, out=out)


@containing.command(epilog="Example: `keyfuse snooze fp1:5f3a... --for 2h --reason 'the owner is looking'`")
def snooze(
    key_id: KeyId,
    span: Annotated[str, typer.Option("--for", help="30m, 2h, or a time; seven days at most.", metavar="T")],
    config: ConfigDir = CONFIG,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Acknowledge for a time: people are told again when it is over, or when it gets worse."""
    lazy("service.request_commands").snooze(config, key_id, span, reason=reason, by=by, out=out)


@containing.command(epilog="Examples: `keyfuse plan fp1:5f3a...` or `keyfuse plan fp1:5f3a... --json`")
def plan(
    key_id: KeyId,
    config: ConfigDir = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """What would be done to a key, what breaks, whom else it hits, and what is lost if nothing is done."""
    lazy("service.plan_command").plan(config, key_id, as_json=as_json, out=out)


@containing.command(
    epilog="Examples: `keyfuse leak fp1:5f3a... --source 'public repository' --url https://github.com/...` or "
    "`keyfuse leak - --source 'paste site'`, which asks for the secret"
)
def leak(
    key_id: Annotated[
        str,
        typer.Argument(metavar="KEY_ID", help="As `keyfuse keys` shows it; - reads the secret from standard input."),
    ],
    source: Annotated[str, typer.Option(help="What it was found in.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    url: Annotated[str, typer.Option(help="Where exactly.", metavar="URL")] = "",
    confidence: Annotated[
        str, typer.Option(help="low (tells people, no evidence for a cut), medium or high.", metavar="WORD")
    ] = "high",
    by: By = "",
) -> None:
    """Say that a key was found where it should not be: opens or feeds its incident, as evidence of its own kind."""
    command = lazy("service.leak_command")
    command.leak(config, key_id, place=(source, url), confidence=confidence, by=by, read=command.read_secret, out=out)


@containing.command(
    epilog="Examples: `keyfuse kill fp1:5f3a... fp1:77b0... --reason 'on a paste site'` or "
    "`keyfuse kill --team search --env staging`"
)
def kill(  # noqa: PLR0913, PLR0917 - the options of one command
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY_ID]...", help="As `keyfuse keys` shows them.")
    ] = None,
    config: ConfigDir = CONFIG,
    team: Annotated[str | None, typer.Option(help="All keys of this team ...", metavar="T")] = None,
    application: Annotated[str | None, typer.Option("--app", help="... and of this app ...", metavar="A")] = None,
    env: Annotated[str | None, typer.Option(help="... and of this environment.", metavar="E")] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="For good, where the provider can.")] = False,
    wider: Annotated[
        bool, typer.Option("--wider", help="Also with steps that stop a whole project or account.")
    ] = False,
    mean: Annotated[
        int | None,
        typer.Option("--yes-i-mean", help="For scripts: how many keys; another number stops it.", metavar="N"),
    ] = None,
    wait_s: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for the outcomes.", min=1, max=3600, metavar="S")
    ] = 180,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Cut many keys now: shows the list, asks for a typed word, orders, and says what became of each.

    The step is the hardest one that can be undone and stops the key alone. The exit code is 0 when every key of the
    list is seen to be cut, 1 when not, 2 when nothing was done.
    """
    command = lazy("service.kill_command")
    wanted = lazy("containment.kill").Wanted(tuple(keys or ()), team, application, env)
    said = command.Said(wanted, revoke, wider, mean, reason, by, wait_s)
    raise typer.Exit(command.kill(config, said, read=input, out=out))
