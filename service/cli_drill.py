"""Commands for drills: what happens, tried before it happens."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli_options import CONFIG, ConfigDir
from service.lazy import lazy

drills = typer.Typer(
    help="Try what happens before it happens.", no_args_is_help=True, epilog="Example: `keyfuse drill quota --app shop`"
)


@drills.command(epilog="Example: `keyfuse drill quota --app shop --model gpt-4.1`")
def quota(
    app: Annotated[str, typer.Option(help="The application whose budget is walked to its end.", metavar="APP")],
    config: ConfigDir = CONFIG,
    model: Annotated[str, typer.Option(help="The model it asks for.", metavar="MODEL")] = "gpt-4.1",
    calls: Annotated[int, typer.Option(help="So many calls fit into the sandbox budget.", min=2, max=1000)] = 20,
) -> None:
    """Walk an app to its stop and show what its client really gets: status, retry-after, message.

    In a gate and a budget of its own, with your keys, issued ones too, policies and models: nothing of the real budget
    is touched.
    """
    lazy("service.drill_quota").main(config, app=app, model=model, calls=calls)
