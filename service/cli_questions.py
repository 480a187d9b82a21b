"""The commands with which people answer what Keyfuse asks them."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, By, ConfigDir, Reason, out
from service.lazy import lazy

asking = typer.Typer()


@asking.command(epilog="Example: `keyfuse questions` shows what waits for an answer; `--all` also what is answered")
def questions(
    config: ConfigDir = CONFIG,
    every: Annotated[bool, typer.Option("--all", help="Also what is answered or withdrawn.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each instead of words.")] = False,
) -> None:
    """What people are asked: requests for keys, exceptions, and whether keys are still needed."""
    lazy("service.question_commands").questions(config, every=every, as_json=as_json, out=out)


@asking.command(epilog="Example: `keyfuse answer rev:fp1:5f3a:1 keep --reason 'the ranker uses it'`")
def answer(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="As `keyfuse questions` shows it.")],
    choice: Annotated[str, typer.Argument(metavar="CHOICE", help="One of the answers that it names.")],
    config: ConfigDir = CONFIG,
    reason: Reason = "",
    by: By = "",
) -> None:
    """Answer a question, as its button in Slack does. Nobody answers what they asked for themselves."""
    lazy("service.question_commands").answer(config, question, choice, reason=reason, by=by, out=out)
