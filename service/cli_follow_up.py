"""The commands on what follows from incidents, and on how well keys are governed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import CONFIG, By, ConfigDir, err, out
from service.lazy import lazy

following = typer.Typer()
followup = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="What is to be done after incidents, until it is done.",
    epilog="Example: `keyfuse followup add inc_5f3a... --suggested --owner ann --due 2026-12-15`",
)  # fmt: skip
following.add_typer(followup, name="followup")

FollowUpId = Annotated[str, typer.Argument(metavar="FOLLOW_UP", help="As `keyfuse followup list` shows it.")]
Owner = Annotated[str, typer.Option(help="Who does it, as in people.yaml.", metavar="NAME")]
Due = Annotated[str, typer.Option(help="Until when: a date, or 14d from now.", metavar="DATE")]


@followup.command(epilog="Example: `keyfuse followup add inc_5f3a... 'list the models of search' --owner ann`")
def add(
    incident_id: Annotated[str, typer.Argument(metavar="INCIDENT")],
    owner: Owner,
    words: Annotated[str, typer.Argument(metavar="[WORDS]", help="What is to be done.")] = "",
    suggested: Annotated[bool, typer.Option("--suggested", help="All that the post-mortem suggests.")] = False,
    due: Due = "",
    by: By = "",
    config: ConfigDir = CONFIG,
) -> None:
    """Write down what is to be done after an incident."""
    command = lazy("service.follow_up_commands")
    command.add(config, incident_id, words, suggested=suggested, owner=owner, due=due, by=by, out=out)


@followup.command("list", epilog="Example: `keyfuse followup list --all`")
def show(
    every: Annotated[bool, typer.Option("--all", help="Also what is done or dropped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each instead of words.")] = False,
    config: ConfigDir = CONFIG,
) -> None:
    """What is open after incidents, what is due first."""
    lazy("service.follow_up_commands").show(config, every=every, as_json=as_json, out=out)


@followup.command(epilog="Example: `keyfuse followup assign fol_5f3a... --owner bob --due 2026-12-20`")
def assign(follow_up: FollowUpId, owner: Owner, due: Due = "", by: By = "", config: ConfigDir = CONFIG) -> None:
    """Give it to somebody else, or another date."""
    lazy("service.follow_up_commands").assign(config, follow_up, owner=owner, due=due, by=by, out=out)


@followup.command(epilog="Example: `keyfuse followup done fol_5f3a... --evidence 'merged as policies#42'`")
def done(
    follow_up: FollowUpId,
    evidence: Annotated[str, typer.Option(help="How one knows: a link, a commit, a figure.", metavar="TEXT")],
    by: By = "",
    config: ConfigDir = CONFIG,
) -> None:
    """It was done; say how one knows."""
    lazy("service.follow_up_commands").end(config, follow_up, "done", words=evidence, by=by, out=out)


@followup.command(epilog="Example: `keyfuse followup drop fol_5f3a... --reason 'the service is gone'`")
def drop(
    follow_up: FollowUpId,
    reason: Annotated[str, typer.Option(help="Why it is not needed.", metavar="TEXT")],
    by: By = "",
    config: ConfigDir = CONFIG,
) -> None:
    """It is not needed after all; say why."""
    lazy("service.follow_up_commands").end(config, follow_up, "drop", words=reason, by=by, out=out)


@followup.command("patch", epilog="Example: `keyfuse followup patch inc_5f3a... --out tighten.patch`")
def propose(
    incident_id: Annotated[str, typer.Argument(metavar="INCIDENT")],
    to: Annotated[Path | None, typer.Option("--out", help="Write it into this file.", metavar="FILE")] = None,
    config: ConfigDir = CONFIG,
) -> None:
    """Propose a patch of the settings that would have bounded it: a limit, and the models and networks used before."""
    lazy("service.follow_up_patch").propose(config, incident_id, to=to, out=out, err=err)


@following.command(epilog="Examples: `keyfuse governance` or `keyfuse governance --team search --out search.html`")
def governance(
    team: Annotated[str, typer.Option(help="The keys of one team.", metavar="TEAM")] = "",
    env: Annotated[str, typer.Option(help="The keys of one environment.", metavar="ENV")] = "",
    to: Annotated[
        Path | None, typer.Option("--out", help="Write it: a name that ends with .html, .md or .json.", metavar="FILE")
    ] = None,
    at_least: Annotated[
        int | None, typer.Option(help="Exit 1 when the score is lower.", min=0, max=100, metavar="SCORE")
    ] = None,
    config: ConfigDir = CONFIG,
) -> None:
    """One page on how well keys are governed: each line with its evidence, a score, and what to do next."""
    command = lazy("service.governance_command")
    raise typer.Exit(command.governance(config, team=team, env=env, to=to, at_least=at_least, out=out))
