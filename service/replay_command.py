"""`keyfuse replay`: files in, NDJSON out, and the summary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr
from rich.console import Console

from alerting.words import counted
from schemas.fingerprint import Fingerprinter
from schemas.records import DeadLetter
from service.errors import UserError
from service.exported import exceptions_of
from service.install import Install
from service.lazy import lazy
from service.mark_commands import labels_of
from service.replay import Replay, ReplayResult, read_events
from service.replay_cuts import Contained
from service.replay_files import read_lines
from service.secrets import load_pepper
from sources.batch import BatchParser
from sources.pricing import PriceBook


class Meanwhile(NamedTuple):
    """Files of what people said that holds in the time that is replayed; empty: of none."""

    marks: str = ""
    exceptions: str = ""


def main(
    files: list[str], output: str, config: Path, *, closed_loop: bool, latency_s: float, meanwhile: Meanwhile,
    err: Console, report: str = "",
) -> None:  # fmt: skip
    """Read, replay, write; the summary goes to the terminal."""
    _check_output("--out", output, files)
    if report:
        _check_output("--report", report, [*files, output])
    marks = labels_of(meanwhile.marks) if meanwhile.marks else ()
    exceptions = exceptions_of(meanwhile.exceptions) if meanwhile.exceptions else ()
    install = Install.open(config)
    parser = BatchParser(fingerprinter=fingerprinter(install), prices=PriceBook(), max_future_s=None)
    table, dead = read_events((line for name in files for line in read_lines(name)), parser)

    def play(*, closed: bool) -> ReplayResult:
        offered = install.offered()
        return Replay(
            install.folder,
            offered=offered,
            closed_loop=closed,
            containment_latency_s=latency_s,
            marks=marks,
            exceptions=exceptions,
        ).run(table)

    result = play(closed=closed_loop)
    result.dead = dead
    if output == "-":
        sys.stdout.buffer.writelines(result.lines)
        sys.stdout.buffer.flush()
    else:
        Path(output).write_bytes(b"".join(result.lines))
    for line in summary(result, closed_loop=closed_loop):
        err.print(line, markup=False)
    if report:
        other = play(closed=not closed_loop)
        other.dead = dead
        without, with_cuts = (other, result) if closed_loop else (result, other)
        lazy("service.replay_report").write_report(
            Path(report), table, install.folder, without=without, with_cuts=with_cuts, files_named=files,
            latency_s=latency_s,
        )  # fmt: skip
        err.print(f"report: {report}", markup=False)


def _check_output(option: str, output: str, files: list[str]) -> None:
    """Before the work, not after it; and never over what is to be read."""
    if output == "-" and option == "--out":
        return
    path = Path(output)
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(
            f"{option} {output}: {'a folder, name a file' if path.is_dir() else f'no folder {path.parent}'}"
        )
    if path.exists() and any(name != "-" and Path(name).exists() and path.samefile(name) for name in files):
        raise UserError(f"{option} {output}: would overwrite another of the files named; name another one")


def fingerprinter(install: Install) -> Fingerprinter:
    """Replay works without an install: secrets in the files are then fingerprinted under a fixed, empty pepper."""
    wiring = install.folder.wiring
    if wiring.pepper_env in install.environ or Path(wiring.pepper_file).exists():
        return Fingerprinter(load_pepper(wiring.pepper_env, wiring.pepper_file, environ=install.environ))
    return Fingerprinter(SecretStr(""))


def summary(result: ReplayResult, *, closed_loop: bool) -> list[str]:
    """Keys, events, USD, incidents; in a closed loop the seconds and USD of each contained key."""
    prevented = f", {counted(result.dropped_events, 'event')} prevented" if closed_loop else ""
    lines = [
        f"{counted(result.keys, 'key')}, {counted(result.events, 'event')}, {result.usd:,.2f} USD: "
        f"{counted(result.findings, 'finding')}, {counted(len(result.incidents), 'incident')}{prevented}"
    ]
    if result.dead:
        lines.append(_not_taken(result.dead, events=result.events))
    if result.repeated:
        lines.append(
            f"{counted(result.repeated, 'event')} came again with the same event_id (the same file twice?): "
            "scored once, but counted in these sums"
        )
    for contained in result.contained:
        lines += _bill(contained)
    return lines


def _not_taken(dead: list[DeadLetter], *, events: int) -> str:
    counts: dict[str, int] = {}
    for letter in dead:
        name = f"{letter.reason.value} {letter.field}".strip()
        counts[name] = counts.get(name, 0) + 1
    commonest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:8]
    reasons = ", ".join(f"{name} ({count:,})" for name, count in commonest)
    hint = "" if events else ". Are these events? One JSON object a line is expected"
    return f"{counted(len(dead), 'record')} could not be taken: {reasons}{hint}"


def _bill(contained: Contained) -> list[str]:
    return [
        f"contained {contained.key_id} ({contained.step}): {contained.seconds:,.0f} s and {contained.usd:,.2f} USD "
        f"after its first suspicious event ({contained.lost_usd:,.2f} above normal)",
        f"  {contained.headline}",
    ]
