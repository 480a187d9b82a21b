"""`keyfuse policy`: what a key may do and why, tests and trials of policies, and exceptions from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import CONFIG, By, ConfigDir, Reason, err, out
from service.lazy import lazy

policy = typer.Typer(
    help="What a key may do and why; tests and trials of policies; exceptions from them.",
    epilog="Example: `keyfuse policy explain fp1:5f3a... --model gpt-5`",
    no_args_is_help=True,
)
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")]
ExceptionId = Annotated[str, typer.Argument(metavar="EXCEPTION", help="As `keyfuse policy exceptions` shows it.")]


@policy.command(
    epilog="Examples: `keyfuse policy explain fp1:5f3a...`, `keyfuse policy explain fp1:5f3a... --model gpt-5 --ip "
    "10.1.2.3` or `keyfuse policy explain new-key --team search --env dev`"
)
def explain(  # noqa: PLR0913, PLR0917 - the options of one command
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `keyfuse keys` shows it, or a name of your own.")],
    config: ConfigDir = CONFIG,
    model: Annotated[str, typer.Option(help="A call to judge: its model ...", metavar="MODEL")] = "",
    endpoint: Annotated[str, typer.Option(help="... its endpoint ...", metavar="PATH")] = "",
    ip: Annotated[str, typer.Option(help="... where it comes from ...", metavar="ADDRESS")] = "",
    country: Annotated[str, typer.Option(help="... from which country ...", metavar="CC")] = "",
    origin: Annotated[str, typer.Option(help="... from which web page ...", metavar="URL")] = "",
    input_tokens: Annotated[int, typer.Option(help="... how much it sends ...", min=0, metavar="N")] = 0,
    max_output_tokens: Annotated[
        int | None, typer.Option(help="... and how much it asks for.", min=0, metavar="N")
    ] = None,
    at: Annotated[str, typer.Option(help="When. Default: now.", metavar="T")] = "",
    team: Annotated[str | None, typer.Option(help="Of a key that is not registered: its team ...", metavar="T")] = None,
    application: Annotated[str | None, typer.Option("--app", help="... its app ...", metavar="A")] = None,
    env: Annotated[str | None, typer.Option(help="... and its environment.", metavar="E")] = None,
    as_json: AsJson = False,
) -> None:
    """Every rule that holds for a key, where it is written, which exceptions lift it, and what a call is told."""
    command = lazy("service.policy_explain")
    call = command.Asked(model, endpoint, ip, country, origin, input_tokens, max_output_tokens, at)
    scope = {"team": team, "app": application, "env": env}
    command.explain(config, key_id, call, scope=scope, as_json=as_json, out=out)


@policy.command(
    "test", epilog="Example: `keyfuse policy test policy-tests.yaml`, in the CI of the policies' repository"
)
def check_cases(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Tables of cases in YAML.")],
    config: ConfigDir = CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say whether policies do what tables of cases expect. Exit code 1 when one does not, 2 when a file is wrong."""
    if not lazy("service.policy_cases").run(config, files, as_json=as_json, out=out):
        raise typer.Exit(1)


@policy.command(
    epilog="Examples: `keyfuse policy diff new.d --days 14` or `keyfuse policy diff new.d yesterday.jsonl.gz --check`"
)
def diff(
    other: Annotated[Path, typer.Argument(metavar="OTHER_DIR", help="The folder with the change.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Events; default: what the store has kept.")
    ] = None,
    config: ConfigDir = CONFIG,
    days: Annotated[
        float | None, typer.Option(help="Of the last days. Default: 7; of files everything.", min=0.01, metavar="N")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 1 when calls would be refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a change of policies would have refused, and allowed, of the calls that were made; by rule and by key."""
    refused = lazy("service.policy_diff").diff(
        config, other, tuple(files or ()), days=days, as_json=as_json, out=out, err=err
    )
    if check and refused:
        raise typer.Exit(1)


@policy.command(
    "except",
    epilog="Examples: `keyfuse policy except --key fp1:5f3a... --model gpt-5 --for 3d --reason 'launch week'` or "
    "`keyfuse policy except --team search --rule requests_per_min --limit 600 --for 12h --reason 'backfill'`",
)
def ask(  # noqa: PLR0913, PLR0917 - the options of one command
    span: Annotated[
        str, typer.Option("--for", help="How long: 12h, 3d, or until a time. It always ends.", metavar="T")
    ],
    reason: Annotated[str, typer.Option(help="Why; shown to whoever approves, and kept.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    key: Annotated[list[str] | None, typer.Option(help="key_ids; may come several times.", metavar="KEY_ID")] = None,
    team: Annotated[list[str] | None, typer.Option(help="Teams, as patterns.", metavar="T")] = None,
    application: Annotated[list[str] | None, typer.Option("--app", help="Apps, as patterns.", metavar="A")] = None,
    env: Annotated[list[str] | None, typer.Option(help="Environments, as patterns.", metavar="E")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models to allow, as patterns.", metavar="M")] = None,
    rule: Annotated[
        str, typer.Option(help="What to lift, as `explain` names it. Default: models, with --model.", metavar="RULE")
    ] = "",
    allow: Annotated[
        list[str] | None, typer.Option(help="What a list is to allow besides: patterns, networks.", metavar="TEXT")
    ] = None,
    limit: Annotated[float | None, typer.Option(help="The number that is to hold instead.", metavar="N")] = None,
    of: Annotated[str, typer.Option(help="Of this policy (or budget) alone.", metavar="NAME")] = "",
    begin: Annotated[str, typer.Option("--from", help="When it begins. Default: now.", metavar="T")] = "",
    times: Annotated[
        float, typer.Option(help="How many times the usual use is expected meanwhile.", min=1.1, max=1000, metavar="N")
    ] = 10.0,
    owner: Annotated[str, typer.Option(help="Who answers for it. Default: who asks.", metavar="NAME")] = "",
    by: By = "",
) -> None:
    """Ask that a rule be lifted for a time. A second person approves it; it ends by itself."""
    command = lazy("service.exception_commands")
    scope = command.Scope(tuple(key or ()), tuple(team or ()), tuple(application or ()), tuple(env or ()))
    rule, allow = ("models", [*(model or ()), *(allow or ())]) if model and not rule else (rule, allow)
    what = command.What(rule, of, tuple(allow or ()), limit, times)
    command.ask(config, scope, what, span=(begin, span), reason=reason, owner=owner, by=by, out=out)


@policy.command(epilog="Examples: `keyfuse policy exceptions` or `keyfuse policy exceptions --all --json`")
def exceptions(
    config: ConfigDir = CONFIG,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over or were refused too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each instead of words.")] = False,
) -> None:
    """Exceptions: what each allows to whom, who asked, who approved it, and when it ends."""
    lazy("service.exception_commands").shown(config, everything=everything, as_json=as_json, out=out)


@policy.command(epilog="Example: `keyfuse policy approve exc_5f3a1b2c3d4e --reason 'agreed with finance'`")
def approve(exception: ExceptionId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Approve an exception that somebody else asked for."""
    lazy("service.exception_commands").answer(config, exception, "approve", reason=reason, by=by, out=out)


@policy.command(epilog="Example: `keyfuse policy refuse exc_5f3a1b2c3d4e --reason 'use the smaller model'`")
def refuse(exception: ExceptionId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Say no to an exception."""
    lazy("service.exception_commands").answer(config, exception, "refuse", reason=reason, by=by, out=out)


@policy.command(epilog="Example: `keyfuse policy end exc_5f3a1b2c3d4e --reason 'the backfill is done'`")
def end(exception: ExceptionId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """End an exception before its time: the rule holds again at once."""
    lazy("service.exception_commands").end(config, exception, reason=reason, by=by, out=out)
