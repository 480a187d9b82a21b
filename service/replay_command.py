"""`keyfuse replay`: files in, NDJSON out, and the summary."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from schemas.fingerprint import Fingerprinter
from schemas.records import DeadLetter
from service.errors import UserError
from service.install import Install
from service.replay import Replay, ReplayResult, read_events
from service.replay_cuts import Contained
from service.replay_files import read_lines
from service.secrets import load_pepper
from sources.batch import BatchParser
from sources.pricing import PriceBook


def main(files: list[str], output: str, config: Path, *, closed_loop: bool, latency_s: float, err: Console) -> None:
    """Read, replay, write; the summary goes to the terminal."""
    _check_output(output, files)
    install = Install.open(config)
    parser = BatchParser(fingerprinter=_fingerprinter(install), prices=PriceBook(), max_future_s=None)
    table, dead = read_events((line for name in files for line in read_lines(name)), parser)
    replay = Replay(install.folder, offered=install.offered(), closed_loop=closed_loop, containment_latency_s=latency_s)
    result = replay.run(table)
    result.dead = dead
    if output == "-":
        sys.stdout.buffer.writelines(result.lines)
        sys.stdout.buffer.flush()
    else:
        Path(output).write_bytes(b"".join(result.lines))
    for line in summary(result, closed_loop=closed_loop):
        err.print(line, markup=False)


def _check_output(output: str, files: list[str]) -> None:
    """Before the work, not after it; and never over what is to be read."""
    if output == "-":
        return
    path = Path(output)
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {output}: {'a folder, name a file' if path.is_dir() else f'no folder {path.parent}'}")
    if path.exists() and any(name != "-" and Path(name).exists() and path.samefile(name) for name in files):
        raise UserError(f"--out {output}: would overwrite the events that are read; name another file")


def _fingerprinter(install: Install) -> Fingerprinter:
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
    for contained in result.contained:
        lines += _bill(contained)
    return lines


def counted(number: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "key"), counted(2000, "event")
    ('1 key', '2,000 events')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


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
