"""`keyfuse keys`: who spends what, and what becomes of keys: asked for, approved, looked back on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli_options import CONFIG, By, ConfigDir, Reason, err, out
from service.lazy import lazy

keys = typer.Typer()
AnyKey = Annotated[
    str, typer.Argument(metavar="KEY", help="Its key_id as `keyfuse keys list` shows it, or the request's id.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of words.")]
Several = list[str] | None


@keys.callback(invoke_without_command=True, epilog="Example: `keyfuse keys --hours 24`")
def seen(
    context: typer.Context,
    config: ConfigDir = CONFIG,
    hours: Annotated[float, typer.Option(help="Used within the last hours.", min=0, max=1_000_000, metavar="N")] = 24,
) -> None:
    """Keys seen in use, dearest first; with a subcommand the life of one key."""
    if context.invoked_subcommand is None:
        lazy("service.query_commands").keys(config, hours=hours, out=out)


def _commands() -> Any:  # noqa: ANN401 - a module
    return lazy("service.key_commands")


@keys.command(
    "import",
    epilog="Examples: `keyfuse keys import --from openai` or `keyfuse keys import --from litellm --patch new.patch`",
)
def take_in(
    source: Annotated[
        str, typer.Option("--from", help="A provider of keyfuse.yaml, by its name or kind.", metavar="PROVIDER")
    ],
    config: ConfigDir = CONFIG,
    patch: Annotated[Path | None, typer.Option(help="Write the patch of keys.yaml there.", metavar="FILE")] = None,
    as_json: AsJson = False,
) -> None:
    """Which keys a provider has that keys.yaml does not know, which are gone, which changed. Changes nothing itself.

    Run it where the provider's admin key is: openai, anthropic, litellm, aws and openrouter have a list of keys.
    """
    command = lazy("service.key_import")
    command.main(config, command.Said(source, patch, as_json), out=out)


@keys.command(
    epilog="Examples: `keyfuse keys request --team search --env dev --purpose 'try new prompts'` or "
    "`keyfuse keys request --team search --env prod --purpose 'rank answers' --quota-usd-per-day 40`"
)
def request(  # noqa: PLR0913, PLR0917 - the options of one command
    team: Annotated[str, typer.Option(help="Which team answers for it.", metavar="NAME")] = "",
    env: Annotated[str, typer.Option(help="Where it is used, like dev or prod.", metavar="NAME")] = "",
    purpose: Annotated[str, typer.Option(help="What it is for, in a sentence.", metavar="TEXT")] = "",
    app: Annotated[str, typer.Option(help="Which application uses it.", metavar="NAME")] = "",
    owner: Annotated[str, typer.Option(help="Who answers for it. Default: who asks.", metavar="NAME")] = "",
    expires_days: Annotated[float | None, typer.Option(help="Ends after so many days.", metavar="N")] = None,
    quota_usd_per_day: Annotated[float | None, typer.Option(help="May spend so much a day.", metavar="USD")] = None,
    quota_requests_per_min: Annotated[int | None, typer.Option(help="May be used so often.", metavar="N")] = None,
    rotate_every_days: Annotated[float | None, typer.Option(help="A new secret so often.", metavar="N")] = None,
    network: Annotated[Several, typer.Option(help="Used from there alone; several times.", metavar="CIDR")] = None,
    country: Annotated[Several, typer.Option(help="Used from there alone; several times.", metavar="CC")] = None,
    origin: Annotated[Several, typer.Option(help="Web origin that may use it.", metavar="PATTERN")] = None,
    scope: Annotated[Several, typer.Option(help="What it may do; several times.", metavar="NAME")] = None,
    data_class: Annotated[
        str, typer.Option(help="What it may be shown: public, internal, confidential, restricted.", metavar="CLASS")
    ] = "",
    backup: Annotated[str, typer.Option(help="Key that its users go on with when it is cut.", metavar="KEY_ID")] = "",
    provider: Annotated[
        str, typer.Option(help="A credential of this provider instead of Keyfuse's own key.", metavar="NAME")
    ] = "",
    place: Annotated[str, typer.Option(help="Where there: proj_... or an IAM user.", metavar="NAME")] = "",
    request_id: Annotated[str, typer.Option(help="The same id asks once, however often sent.", metavar="ID")] = "",
    wait: Annotated[float, typer.Option(help="So many seconds for an answer.", min=0, max=3600, metavar="S")] = 30,
    as_json: AsJson = False,
    config: ConfigDir = CONFIG,
    by: By = "",
) -> None:
    """Ask for a key. The key alone goes to standard output, once; the rest to standard error."""
    wish = {
        "team": team, "env": env, "purpose": purpose, "app": app, "owner": owner, "expires_days": expires_days,
        "quota_usd_per_day": quota_usd_per_day, "quota_requests_per_min": quota_requests_per_min,
        "rotate_every_days": rotate_every_days, "networks": network, "countries": country, "origins": origin,
        "scopes": scope, "data_class": data_class, "backup": backup, "provider": provider, "place": place,
        "kind": "provider" if provider else "",
    }  # fmt: skip
    given = {name: value for name, value in wish.items() if value not in ("", None, [])}
    command = _commands()
    raise typer.Exit(
        command.request(
            config, given, by=by, request_id=request_id, wait_s=wait, shown=command.Shown(out, err, as_json)
        )
    )


@keys.command(epilog="Example: `keyfuse keys collect 5f3a...`")
def collect(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id.")], config: ConfigDir = CONFIG
) -> None:
    """A provider's credential that was approved later: shown once, on the machine that asked for it."""
    _commands().collect(config, request, out=out)


@keys.command(epilog="Example: `keyfuse keys show fp1:5f3a...`")
def show(key: AnyKey, config: ConfigDir = CONFIG, as_json: AsJson = False) -> None:
    """All that is known of one key: whose, for what, how long, what it may spend."""
    _commands().show(config, key, as_json=as_json, out=out)


@keys.command(epilog="Example: `keyfuse keys history fp1:5f3a...`")
def history(key: AnyKey, config: ConfigDir = CONFIG, as_json: AsJson = False) -> None:
    """Each change of a key, by commands and in keys.yaml: who, when, what."""
    _commands().history(config, key, as_json=as_json, out=out)


@keys.command("list", epilog="Examples: `keyfuse keys list --team search` or `keyfuse keys list --state pending`")
def list_(
    team: Annotated[str, typer.Option(help="Of this team alone.", metavar="NAME")] = "",
    env: Annotated[str, typer.Option(help="Of this environment alone.", metavar="NAME")] = "",
    owner: Annotated[str, typer.Option(help="Of this owner alone.", metavar="NAME")] = "",
    state: Annotated[str, typer.Option(help="active, pending, retired and so on.", metavar="STATE")] = "",
    config: ConfigDir = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Every key of keys.yaml and every one that was issued."""
    wanted = {"team": team, "env": env, "owner": owner, "state": state}
    _commands().listed(config, wanted, as_json=as_json, out=out)


@keys.command(epilog="Example: `keyfuse keys approve fp1:5f3a... --reason 'for the launch'`")
def approve(key: AnyKey, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Give the key that somebody else asked for. It works from then on."""
    _commands().judge(config, key, "approve", reason=reason, by=by, out=out)


@keys.command(epilog="Example: `keyfuse keys refuse fp1:5f3a... --reason 'use the key of the team'`")
def refuse(key: AnyKey, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Refuse the key that somebody asked for; they are told the reason."""
    _commands().judge(config, key, "refuse", reason=reason, by=by, out=out)
