"""The commands for those who were not there: is the audit intact, what happened, what to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli_options import CONFIG, By, ConfigDir, out
from service.cli_tuning import Since, Until
from service.errors import UserError
from service.lazy import lazy

evidence = typer.Typer()
PublicKey = Annotated[
    str,
    typer.Option("--public-key", help="Who must have signed: PEM file or 64 hex digits. Default: own.", metavar="KEY"),
]
Hours = Annotated[float, typer.Option(help="So many hours before the incident too.", min=0, max=10_000, metavar="N")]

Wait = Annotated[float, typer.Option(help="So long for the archive to say that it is done.", min=0, metavar="S")]


def _commands() -> Any:  # noqa: ANN401 - a module
    return lazy("service.evidence_commands")


@evidence.command(
    epilog="Examples: `keyfuse audit verify`, `keyfuse audit export rows.ndjson` and later "
    "`keyfuse audit verify rows.ndjson --public-key audit.pub`, or `keyfuse audit heads -` for another place"
)
def audit(
    action: Annotated[str, typer.Argument(metavar="verify|export|heads", help="What to do.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines; verify without one: the store.")] = "",
    config: ConfigDir = CONFIG,
    since: Since = "",
    until: Until = "",
    public_key: PublicKey = "",
) -> None:
    """Is the audit as it was written? A changed, removed, moved or added row is named, and the exit code is 1."""
    wanted = lazy("service.history").Wanted((), since, until)
    if action == "verify":
        raise typer.Exit(_commands().audit_verify(config, file, wanted, public_key=public_key, out=out))
    if action not in ("export", "heads"):
        raise UserError(f"{action}: expected verify, export or heads")
    if not file:
        raise UserError(f"where to? `keyfuse audit {action} FILE`, or - for standard output")
    _commands().audit_export(config, file, wanted, heads_only=action == "heads", out=out)


@evidence.command(
    epilog="Examples: `keyfuse forensics inc_5f3a... --out inc.zip` and `keyfuse forensics verify inc.zip`"
)
def forensics(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT|verify", help="As `keyfuse incidents` shows it.")],
    file: Annotated[str, typer.Argument(metavar="FILE.zip", help="After `verify`: the archive.")] = "",
    output: Annotated[str, typer.Option("--out", help="Where the archive goes.", metavar="FILE.zip")] = "",
    config: ConfigDir = CONFIG,
    hours: Hours = 24,
    public_key: PublicKey = "",
) -> None:
    """One archive with all that is known of an incident, each file with its hash; or verify such an archive."""
    if incident == "verify":
        if not file:
            raise UserError("which archive? `keyfuse forensics verify FILE.zip`")
        raise typer.Exit(_commands().forensics_verify(config, Path(file), public_key=public_key, out=out))
    if file or not output:
        raise UserError(f"where to? `keyfuse forensics {incident} --out {file or 'FILE.zip'}`")
    _commands().forensics(config, incident, Path(output), hours=hours, out=out)


@evidence.command(epilog="Example: `keyfuse hold inc_5f3a... --reason 'matter 2026-114'`")
def hold(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="As `keyfuse incidents` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; goes to the audit.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    hours: Hours = 24,
    by: By = "",
    wait: Wait = 20,
) -> None:
    """Legal hold: what is stored of the incident's key stays, whatever the retention, until it is released."""
    lazy("service.hold_commands").hold(
        config, incident, reason=reason, hours=hours, by=by, wait_s=wait, out=out
    )  # fmt: skip


@evidence.command(epilog="Example: `keyfuse unhold hld_5f3a... --reason 'settled'`")
def unhold(
    target: Annotated[str, typer.Argument(metavar="HOLD_OR_INCIDENT", help="As `keyfuse holds` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; goes to the audit.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    by: By = "",
    wait: Wait = 20,
) -> None:
    """Release a legal hold: a week later the retention has its way again."""
    lazy("service.hold_commands").unhold(config, target, reason=reason, by=by, wait_s=wait, out=out)


@evidence.command(epilog="Examples: `keyfuse holds` or `keyfuse holds --all`")
def holds(
    config: ConfigDir = CONFIG,
    everything: Annotated[bool, typer.Option("--all", help="Released ones too.")] = False,
) -> None:
    """Legal holds: who, why, since when without a gap, and what each holds."""
    lazy("service.hold_commands").holds(config, everything=everything, out=out)


@evidence.command(epilog="Example: `keyfuse postmortem inc_5f3a... --out postmortem.md`")
def postmortem(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="As `keyfuse incidents` shows it.")],
    output: Annotated[str, typer.Option("--out", help="A new file; default: standard output.", metavar="FILE")] = "",
    config: ConfigDir = CONFIG,
    hours: Hours = 24,
) -> None:
    """A draft in Markdown: timeline, loss, how fast, what worked, what to do next."""
    _commands().postmortem(config, incident, output, hours=hours, out=out)
