"""`keyfuse`: the command line. Each command is thin; errors are one clear sentence and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.errors import UserError
from service.lazy import lazy

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
app = typer.Typer(
    help="Watches every use of every LLM API key and cuts a stolen one within seconds, verified.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
ConfigDir = Annotated[
    Path, typer.Option("--config", envvar="KEYFUSE_CONFIG", help="Folder with the YAML files.", show_default=True)
]
_CONFIG = Path("keyfuse.d")


@app.command(epilog="Example: `keyfuse init --config keyfuse.d`")
def init(
    config: ConfigDir = _CONFIG,
    force: Annotated[bool, typer.Option(help="Overwrite files that exist.")] = False,
) -> None:
    """Write a commented configuration. The mode is `observe`: Keyfuse says what it would do and does nothing."""
    lazy("service.setup_commands").init(config, force=force, out=out)


@app.command(epilog="Example: `keyfuse check --config keyfuse.d`")
def check(config: ConfigDir = _CONFIG) -> None:
    """Check the whole configuration folder and show all errors at once."""
    lazy("service.setup_commands").check(config, out=out)


@app.command(epilog="Example: `keyfuse migrate --config keyfuse.d`")
def migrate(config: ConfigDir = _CONFIG) -> None:
    """Bring the store's tables to this version. Safe to run again."""
    lazy("service.setup_commands").migrate(config, out=out)


@app.command(epilog="Example: `keyfuse up`, then `keyfuse simulate --to http --minutes 5` in another terminal")
def up(config: ConfigDir = _CONFIG) -> None:
    """Run everything in one process: embedded broker and store unless keyfuse.yaml names others. Ctrl-C ends it."""
    lazy("service.up").main(config)


@app.command(epilog="Example: `keyfuse worker --role ingest,score` or `keyfuse worker --role contain`")
def worker(
    role: Annotated[str, typer.Option(help="Comma-separated: ingest, archive, score, decide, notify, contain, http.")],
    config: ConfigDir = _CONFIG,
) -> None:
    """Run some stages against your Kafka and ClickHouse; scale by running more of them."""
    lazy("service.up").main(config, roles=[name.strip() for name in role.split(",")])


@app.command(epilog="Example: `keyfuse demo --seed 7`")
def demo(
    seed: Annotated[int, typer.Option(help="Another seed, another theft.")] = 1,
    directory: Annotated[Path, typer.Option("--dir", help="Where store and report go.")] = Path(".keyfuse"),
) -> None:
    """60 keys, one stolen: from the first event to the verified cut, in about a minute."""
    lazy("service.demo").main(seed=seed, directory=directory, console=out)


@app.command(
    epilog="Examples: `keyfuse simulate --to file --out day.jsonl --minutes 1440 --theft burst` or "
    "`keyfuse simulate --to kafka --minutes 10`"
)
def simulate(
    to: Annotated[str, typer.Option(help="file, http or kafka.")] = "file",
    destination: Annotated[str, typer.Option("--out", help="File (- is standard output) for --to file.")] = "-",
    keys: Annotated[int, typer.Option(help="How many keys.", min=1)] = 60,
    minutes: Annotated[float, typer.Option(help="Minutes of event time.", min=0.1)] = 60,
    theft: Annotated[str, typer.Option(help="A theft shape to plant, or empty. `list` shows them.")] = "",
    seed: Annotated[int, typer.Option(help="Same seed, same events.")] = 1,
    config: ConfigDir = _CONFIG,
) -> None:
    """Make realistic traffic: to a file, to the HTTP intake or to Kafka."""
    lazy("service.simulate").main(
        to=to, destination=destination, keys=keys, minutes=minutes, theft=theft, seed=seed, config=config, err=err
    )


@app.command(epilog="Example: `keyfuse replay yesterday.jsonl.gz --closed-loop --out findings.jsonl`")
def replay(
    files: Annotated[list[str], typer.Argument(help=".jsonl, .jsonl.gz, .parquet, or - for standard input.")],
    output: Annotated[str, typer.Option("--out", help="Where the findings go, NDJSON; - is standard output.")] = "-",
    config: ConfigDir = _CONFIG,
    closed_loop: Annotated[
        bool, typer.Option(help="Take modes as auto; a cut key's later events are dropped.")
    ] = False,
    containment_latency: Annotated[float, typer.Option(help="Seconds from decision to effect.", min=0)] = 5.0,
) -> None:
    """What Keyfuse would have said and done about recorded events. The same input gives the same bytes."""
    lazy("service.replay_command").main(
        files, output, config, closed_loop=closed_loop, latency_s=containment_latency, err=err
    )


@app.command(epilog="Example: `keyfuse keys --hours 24`")
def keys(
    config: ConfigDir = _CONFIG, hours: Annotated[float, typer.Option(help="Used within the last hours.")] = 24
) -> None:
    """Keys seen in use, dearest first."""
    lazy("service.query_commands").keys(config, hours=hours, out=out)


@app.command(epilog="Example: `keyfuse incidents --state open`")
def incidents(
    config: ConfigDir = _CONFIG,
    state: Annotated[str, typer.Option(help="open, acknowledged, contained, resolved, false_positive or all.")] = "all",
) -> None:
    """Incidents, newest first."""
    lazy("service.query_commands").incidents(config, state=state, out=out)


_Reason = Annotated[str, typer.Option(help="Why; goes to the audit.")]
_By = Annotated[str, typer.Option(envvar="USER", help="Who asks; goes to the audit.")]


@app.command(epilog="Example: `keyfuse contain fp1:5f3a... --step disable --reason 'seen on a paste site'`")
def contain(
    key_id: str, config: ConfigDir = _CONFIG, step: str = "", reason: _Reason = "", by: _By = "unknown"
) -> None:
    """Cut one key now, or approve the step that waits for a person."""
    lazy("service.request_commands").contain(config, key_id, step=step, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse restore fp1:5f3a... --reason 'it was our load test'`")
def restore(key_id: str, config: ConfigDir = _CONFIG, reason: _Reason = "", by: _By = "unknown") -> None:
    """Undo the reversible steps on one key."""
    lazy("service.request_commands").restore(config, key_id, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse acknowledge fp1:5f3a...`")
def acknowledge(key_id: str, config: ConfigDir = _CONFIG, by: _By = "unknown") -> None:
    """Say that you have seen the key's incident."""
    lazy("service.request_commands").say(config, key_id, "acknowledge", reason="", by=by, out=out)


@app.command("false-positive", epilog="Example: `keyfuse false-positive fp1:5f3a... --reason 'planned launch'`")
def false_positive(key_id: str, config: ConfigDir = _CONFIG, reason: _Reason = "", by: _By = "unknown") -> None:
    """Close the key's incident as a false alarm and undo what was done."""
    lazy("service.request_commands").say(config, key_id, "false_positive", reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse freeze --reason 'detector misbehaves'`")
def freeze(config: ConfigDir = _CONFIG, reason: _Reason = "", by: _By = "unknown") -> None:
    """Stop all automatic steps, at once. People still can."""
    lazy("service.request_commands").freeze(config, frozen=True, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse unfreeze --reason 'fixed'`")
def unfreeze(config: ConfigDir = _CONFIG, reason: _Reason = "", by: _By = "unknown") -> None:
    """Allow automatic steps again."""
    lazy("service.request_commands").freeze(config, frozen=False, reason=reason, by=by, out=out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: our own errors become a sentence and exit code 2; Ctrl-C is no error to explain."""
    try:
        app(args=list(arguments) if arguments is not None else None, standalone_mode=True)
    except UserError as error:
        err.print(f"keyfuse: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
