"""The files of `keyfuse replay`, and its summary."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow.parquet as pq
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from schemas.fingerprint import Fingerprinter
from service.errors import UserError
from service.install import Install
from service.replay import Replay, ReplayResult, read_events
from service.secrets import load_pepper
from sources.batch import BatchParser
from sources.pricing import PriceBook


def main(files: list[str], output: str, config: Path, *, closed_loop: bool, latency_s: float, err: Console) -> None:
    """Read, replay, write; the summary goes to the terminal."""
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
    summarise(result, err, closed_loop=closed_loop)


def read_lines(name: str) -> Iterator[bytes]:
    """One event, array or log record a line."""
    if name == "-":
        yield from sys.stdin.buffer
        return
    path = Path(name)
    if not path.is_file():
        raise UserError(f"{name}: no such file")
    try:
        if name.endswith(".parquet"):
            for batch in pq.ParquetFile(path).iter_batches():
                yield from (orjson.dumps(row) for row in batch.to_pylist())
        elif name.endswith(".gz"):
            with gzip.open(path, "rb") as stream:
                yield from stream
        else:
            with path.open("rb") as stream:
                yield from stream
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{name}: cannot be read: {error}") from error


def _fingerprinter(install: Install) -> Fingerprinter:
    """Replay works without an install: secrets in the files are then fingerprinted under a fixed, empty pepper."""
    wiring = install.folder.wiring
    if wiring.pepper_env in install.environ or Path(wiring.pepper_file).exists():
        return Fingerprinter(load_pepper(wiring.pepper_env, wiring.pepper_file, environ=install.environ))
    return Fingerprinter(SecretStr(""))


def summarise(result: ReplayResult, err: Console, *, closed_loop: bool) -> None:
    """Keys, events, USD, incidents; in a closed loop the seconds and USD of each contained key."""
    err.print(
        f"{result.keys} keys, {result.events:,} events, {result.usd:,.2f} USD: {result.findings} findings, "
        f"{len(result.incidents)} incidents" + (f", {result.dropped_events:,} events prevented" if closed_loop else "")
    )
    if result.dead:
        reasons = sorted({f"{d.reason.value} {d.field}".strip() for d in result.dead})
        err.print(f"{len(result.dead)} records could not be taken: {', '.join(reasons[:8])}")
    contained = [i for i in result.incidents.values() if i.key_id in result.cut_at_ms]
    if not contained:
        return
    table = Table("contained key", "seconds", "USD lost", "why")
    for incident in sorted(contained, key=lambda i: i.opened_at_ms):
        seconds = (result.cut_at_ms[incident.key_id] - incident.opened_at_ms) / 1000
        table.add_row(incident.key_id, f"{seconds:.0f}", f"{incident.lost_usd:,.2f}", incident.headline)
    err.print(table)
