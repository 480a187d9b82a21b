"""`keyfuse`: the command line. Each command is thin; errors are one clear sentence and exit code 2."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli_budgets import budgeting
from service.cli_contain import containing
from service.cli_costs import spending
from service.cli_drill import drills
from service.cli_evidence import evidence
from service.cli_follow_up import following
from service.cli_gate import gates
from service.cli_key_life import life
from service.cli_keys import keys
from service.cli_options import CONFIG, By, ConfigDir, KeyId, NewConfigDir, Reason, err, out
from service.cli_planes import planes
from service.cli_policy import policy
from service.cli_questions import asking
from service.cli_tuning import tuning
from service.errors import EXIT_USER_ERROR, UserError, for_people
from service.lazy import lazy

app = typer.Typer(
    help="Watches every use of every LLM API key and cuts a stolen one within seconds, verified.",
    epilog="Example: `keyfuse demo` shows it all; `keyfuse init` and `keyfuse up` start it. "
    "`keyfuse COMMAND --help` tells more.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(tuning)
app.add_typer(containing)
app.add_typer(evidence)
app.add_typer(planes)
app.add_typer(budgeting)
app.add_typer(following)
app.add_typer(policy, name="policy")
app.add_typer(asking)
keys.add_typer(life)
app.add_typer(keys, name="keys")
app.add_typer(gates)
app.add_typer(spending)
app.add_typer(drills, name="drill")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"keyfuse {version('keyfuse')}")
        raise typer.Exit


@app.callback()
def keyfuse(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Watches every use of every LLM API key and cuts a stolen one within seconds, verified."""


@app.command(epilog="Example: `keyfuse init --config keyfuse.d`")
def init(
    config: NewConfigDir = CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")] = False,
) -> None:
    """Write a commented configuration. The mode is `observe`: Keyfuse says what it would do and does nothing."""
    lazy("service.setup_commands").init(config, force=force, out=out)


@app.command(epilog="Example: `keyfuse check --config keyfuse.d`")
def check(config: ConfigDir = CONFIG) -> None:
    """Check the whole configuration folder and show all errors at once."""
    lazy("service.setup_commands").check(config, out=out)


@app.command(epilog="Example: `keyfuse migrate --config keyfuse.d`")
def migrate(config: ConfigDir = CONFIG) -> None:
    """Bring the store's tables to this version. Safe to run again."""
    lazy("service.setup_commands").migrate(config, out=out)


@app.command(epilog="Example: `keyfuse up`, then `keyfuse simulate --to http --minutes 5` in another terminal")
def up(config: ConfigDir = CONFIG) -> None:
    """Run everything in one process: embedded broker and store unless keyfuse.yaml names others. Ctrl-C ends it."""
    lazy("service.up").main(config)


@app.command(epilog="Example: `keyfuse worker --role ingest,score` or `keyfuse worker --role contain`")
def worker(
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLES",
            help="Comma-separated: ingest, archive, score, budget, decide, notify, contain, identity, http.",
        ),
    ],
    config: ConfigDir = CONFIG,
) -> None:
    """Run some stages against your Kafka and ClickHouse; scale by running more of them."""
    lazy("service.up").main(config, roles=[name.strip() for name in role.split(",") if name.strip()])


@app.command(epilog="Example: `keyfuse demo --seed 7`")
def demo(
    seed: Annotated[int, typer.Option(help="Another seed, another theft.", metavar="N", min=0)] = 1,
    directory: Annotated[Path, typer.Option("--dir", help="Where store and report go.", metavar="DIR")] = Path(
        ".keyfuse"
    ),
) -> None:
    """60 keys, one stolen: from the first event to the verified cut, in one to two minutes."""
    lazy("service.demo").main(seed=seed, directory=directory, console=out)


@app.command(
    epilog="Examples: `keyfuse simulate --to file --out day.jsonl --minutes 1440 --theft burst` or "
    "`keyfuse simulate --to kafka --minutes 10`"
)
def simulate(
    to: Annotated[str, typer.Option(help="file, http or kafka.", metavar="WHERE")] = "file",
    destination: Annotated[
        str, typer.Option("--out", help="File (- is standard output) for --to file.", metavar="FILE")
    ] = "-",
    keys: Annotated[int, typer.Option(help="How many keys.", min=1, metavar="N")] = 60,
    minutes: Annotated[float, typer.Option(help="Minutes of event time.", min=0.1, metavar="N")] = 60,
    theft: Annotated[
        str, typer.Option(help="A theft shape to plant, or empty. `list` shows them.", metavar="SHAPE")
    ] = "",
    seed: Annotated[int, typer.Option(help="Same seed, same traffic.", min=0, metavar="N")] = 1,
    config: ConfigDir = CONFIG,
) -> None:
    """Make realistic traffic that ends now: to a file, to the HTTP intake or to Kafka."""
    if theft == "list":
        lazy("service.simulate").list_shapes(out)
        return
    lazy("service.simulate").main(
        to=to, destination=destination, keys=keys, minutes=minutes, theft=theft, seed=seed, config=config, err=err
    )


@app.command(epilog="Example: `keyfuse replay yesterday.jsonl.gz --closed-loop --out findings.jsonl`")
def replay(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help=".jsonl, .jsonl.gz, .parquet, or - for standard input.")
    ],
    output: Annotated[
        str, typer.Option("--out", help="Where the findings go, NDJSON; - is standard output.", metavar="OUT")
    ] = "-",
    config: ConfigDir = CONFIG,
    closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="Take modes as auto; a cut key's later events are dropped.")
    ] = False,
    containment_latency: Annotated[
        float, typer.Option(help="Seconds from decision to effect.", min=0, max=86_400, metavar="S")
    ] = 5.0,
    marks_file: Annotated[
        str, typer.Option("--marks", help="Marks that hold meanwhile, from `keyfuse marks --export`.", metavar="FILE")
    ] = "",
    exceptions_file: Annotated[
        str,
        typer.Option(
            "--exceptions",
            metavar="FILE",
            help="Exceptions, each in its time, from `keyfuse policy exceptions --all --json`. Without: none.",
        ),
    ] = "",
    report: Annotated[
        str, typer.Option(help="A page with pictures: what it would have cost with and without.", metavar="FILE.html")
    ] = "",
) -> None:
    """What Keyfuse would have said and done about recorded events. The same input gives the same bytes."""
    command = lazy("service.replay_command")
    meanwhile = command.Meanwhile(marks_file, exceptions_file)
    command.main(
        files, output, config, closed_loop=closed_loop, latency_s=containment_latency, meanwhile=meanwhile,
        report=report, err=err,
    )  # fmt: skip


@app.command(epilog="Example: `keyfuse incidents --state open`")
def incidents(
    config: ConfigDir = CONFIG,
    state: Annotated[
        str,
        typer.Option(help="open, acknowledged, contained, resolved, false_positive or all.", metavar="STATE"),
    ] = "all",
) -> None:
    """Incidents, newest first."""
    lazy("service.query_commands").incidents(config, state=state, out=out)


@app.command(epilog="Example: `keyfuse contain fp1:5f3a... --step disable --reason 'seen on a paste site'`")
def contain(
    key_id: KeyId,
    config: ConfigDir = CONFIG,
    step: Annotated[
        str,
        typer.Option(help="throttle, degrade, block, disable or revoke. Default: what waits.", metavar="STEP"),
    ] = "",
    reason: Reason = "",
    by: By = "",
) -> None:
    """Cut one key now, or approve the step that waits for a person."""
    lazy("service.request_commands").contain(config, key_id, step=step, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse restore fp1:5f3a... --reason 'it was our load test'`")
def restore(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Undo the reversible steps on one key."""
    lazy("service.request_commands").say(config, key_id, "restore", reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse acknowledge fp1:5f3a...`")
def acknowledge(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Say that you have seen the key's incident."""
    lazy("service.request_commands").say(config, key_id, "acknowledge", reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse resolve fp1:5f3a... --reason 'key rotated by hand'`")
def resolve(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Close the key's incident as dealt with. What was cut stays cut."""
    lazy("service.request_commands").say(config, key_id, "resolve", reason=reason, by=by, out=out)


@app.command("false-positive", epilog="Example: `keyfuse false-positive fp1:5f3a... --reason 'planned launch'`")
def false_positive(key_id: KeyId, config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Close the key's incident as a false alarm and undo what was done."""
    lazy("service.request_commands").say(config, key_id, "false_positive", reason=reason, by=by, out=out)


@app.command(
    epilog="Examples: `keyfuse mark inc_5f3a... false-positive --reason 'our nightly batch'` or "
    "`keyfuse mark fp1:5f3a... expected --until 4h --times 20 --reason 'load test'`"
)
def mark(  # noqa: PLR0913, PLR0917 - the options of one command
    target: Annotated[
        str,
        typer.Argument(metavar="INCIDENT_OR_KEY", help="An incident, a key (its newest incident), or ENV/PROVIDER."),
    ],
    verdict: Annotated[str, typer.Argument(metavar="VERDICT", help="true, false-positive or expected.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the mark.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    until: Annotated[str, typer.Option(help="expected until then: 90m, 4h, 2d, a date, RFC 3339.", metavar="T")] = "",
    times: Annotated[
        float | None, typer.Option(help="How many times the usual is expected. Default: 10.", min=1.1, max=1000)
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option(help="A family it holds for; may come several times.", metavar="NAME")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="key, or cohort for false alarms of ENV/PROVIDER.", metavar="SCOPE")
    ] = "key",
    for_good: Annotated[
        bool, typer.Option("--for-good", help="A false alarm: the key is used so from now on, learn it within a day.")
    ] = False,
    by: By = "",
) -> None:
    """Say what an alarm was, or that more use is expected: moves thresholds within bounds, and passes by itself."""
    command = lazy("service.mark_commands")
    said = command.Said(target, verdict, reason, by, until, times, tuple(family or ()), scope, for_good)
    command.mark(config, said, out=out)


@app.command(epilog="Examples: `keyfuse marks` or `keyfuse marks --export labels.ndjson`")
def marks(
    config: ConfigDir = CONFIG,
    everything: Annotated[bool, typer.Option("--all", help="Labels, faded and withdrawn ones too.")] = False,
    export: Annotated[str, typer.Option(help="Write all as JSON lines; - is standard output.", metavar="FILE")] = "",
    take_in: Annotated[str, typer.Option("--import", help="Give the marks of such a file.", metavar="FILE")] = "",
) -> None:
    """What people said of alarms: what each mark changes, and what is left of it."""
    command = lazy("service.mark_commands")
    if take_in and export:
        raise UserError("--export and --import: one at a time")
    if take_in:
        command.take_in(config, take_in, out=out)
    elif export:
        command.export(config, export, out=out)
    else:
        command.marks(config, everything=everything, out=out)


@app.command(epilog="Example: `keyfuse unmark mrk_5f3a... --reason 'it was a theft after all'`")
def unmark(
    mark_id: Annotated[str, typer.Argument(metavar="MARK_ID", help="As `keyfuse marks` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the mark.", metavar="TEXT")],
    config: ConfigDir = CONFIG,
    by: By = "",
) -> None:
    """Take a mark back: thresholds are as if it had never been given."""
    lazy("service.mark_commands").unmark(config, mark_id, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse freeze --reason 'detector misbehaves'`")
def freeze(config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Stop all automatic steps, at once. People still can."""
    lazy("service.request_commands").freeze(config, frozen=True, reason=reason, by=by, out=out)


@app.command(epilog="Example: `keyfuse unfreeze --reason 'fixed'`")
def unfreeze(config: ConfigDir = CONFIG, reason: Reason = "", by: By = "") -> None:
    """Allow automatic steps again."""
    lazy("service.request_commands").freeze(config, frozen=False, reason=reason, by=by, out=out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: what a person can mend becomes a sentence and exit code 2; Ctrl-C is no error to explain."""
    try:
        code = app(args=list(arguments) if arguments is not None else None, prog_name="keyfuse", standalone_mode=False)
    except typer.TyperException as error:
        code = _usage(error)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader has what it wanted (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:  # the last boundary: whatever it is, no secret in it may reach the terminal
        code = _explained(error)
    sys.exit(code or 0)


def _usage(error: Any) -> int:  # noqa: ANN401 - Typer does not export its usage errors
    """A wrong option or argument. Typer's own form is a box of seven lines."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return EXIT_USER_ERROR
    message = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if getattr(error, "ctx", None) else "keyfuse"
    err.print(f"keyfuse: {message}; see `{command} --help`", markup=False)
    return EXIT_USER_ERROR


def _explained(error: Exception) -> int:
    redact = lazy("schemas.redact").redact
    words = for_people(error)
    if words is not None:
        err.print(f"keyfuse: {redact(words)}", markup=False)
        return EXIT_USER_ERROR
    err.print(redact("".join(traceback.format_exception(error))), markup=False)
    err.print("keyfuse: this is a mistake in Keyfuse; please report the lines above", markup=False)
    return 1
