"""The history that backtests, tuning, explanations and warm-ups play: files, or what the store has kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alerting.words import counted
from schemas.partition import partition_of
from service.errors import UserError
from service.install import Install, Running
from service.replay import read_events
from service.replay_command import fingerprinter
from service.replay_files import read_lines
from service.setup_commands import connect, no_answer
from sources.batch import BatchParser
from sources.pricing import PriceBook
from sources.routing import split_by_partition
from storage.errors import StoreError
from storage.history import span, usage
from storage.store import Store

_ROWS: Final = 8192
_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNIT_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_END_MS: Final = 1 << 62
WEEK_MS: Final = 604_800_000


class Wanted(NamedTuple):
    """What a person asks for: files, or the store's events of a time."""

    files: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    labels: str = ""  # a file of marks

    def bounds(self, now_ms: int) -> tuple[int | None, int | None]:
        """UserError when a time cannot be read, or the two are the wrong way round."""
        since = moment(self.since, now_ms=now_ms, option="--from") if self.since else None
        until = moment(self.until, now_ms=now_ms, option="--until") if self.until else None
        if since is not None and until is not None and since >= until:
            raise UserError(f"--until {self.until} is not after --from {self.since}")
        return since, until


@dataclass(frozen=True)
class History:
    """Events in the order of their time. `frames` may be asked for once."""

    what: str  # in words: "2 files", "the stored history"
    first_ms: int
    last_ms: int
    events: int
    frames: Callable[[], Iterator[pa.RecordBatch]]

    @property
    def weeks(self) -> float:
        return max(self.last_ms + 1 - self.first_ms, 1) / WEEK_MS


def moment(text: str, *, now_ms: int, option: str) -> int:
    """Milliseconds from RFC 3339, a date, `2026-11-23 10:00` (UTC where no offset is given) or `7d` before now; what
    lies before 1970 is 1970.

    >>> moment("2026-11-23 10:00", now_ms=0, option="--from"), moment("90m", now_ms=6_000_000, option="--from")
    (1795428000000, 600000)
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ms - int(min(float(ago[1]) * _UNIT_MS[ago[2]], now_ms))
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UserError(f"{option} {text}: expected a time like 2026-11-23T10:00Z, or 7d for a week ago") from None
    return max(round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000), 0)


@contextmanager
def open_history(
    install: Install, files: Sequence[str], *, from_ms: int | None, until_ms: int | None, key_id: str | None = None
) -> Iterator[History]:
    """Files when there are some, else the store; of events in [from_ms, until_ms), None for no bound.

    With a `key_id` only what its stream partition holds: all that its scores depend on. Of what the retention has
    dropped, what is held of this key is still there.

    Raises:
        UserError: there is no event in that time, or a file or the store cannot be read.
    """
    low, high = from_ms or 0, _END_MS if until_ms is None else until_ms
    partitions = install.folder.wiring.kafka.partitions
    partition = None if key_id is None else partition_of(key_id, partitions)
    if files:
        yield _of_files(install, files, low, high, partition)
        return
    store = store_of(install)
    try:
        yield _of_store(store, low, high, partition, partitions, held_of=key_id or "")
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()


def store_of(install: Install) -> Store:
    """The store, to be closed by the caller. UserError when it does not answer or belongs to a running worker."""
    if install.folder.wiring.store.dsn.startswith("chdb:") and Running.find(install.data_dir) is not None:
        # The embedded store belongs to one process at a time.
        raise UserError(f"`keyfuse up` runs in {install.data_dir} and has the store open; stop it first, or name files")
    return connect(install)


def _of_store(store: Store, low: int, high: int, partition: int | None, partitions: int, *, held_of: str) -> History:
    stored = span(store, held_of=held_of)
    if stored is None or stored.first_ms >= high or stored.last_ms < low:
        raise UserError("the store has no events in that time; name files, or another --from and --until")
    first, last = max(stored.first_ms, low), min(stored.last_ms, high - 1)
    share = (last - first + 1) / (stored.last_ms - stored.first_ms + 1) / (1 if partition is None else partitions)
    return History(
        "the stored history", first, last, int(stored.events * share),
        lambda: usage(store, first, last + 1, partition=partition, partitions=partitions, held_of=held_of),
    )  # fmt: skip


def _of_files(install: Install, files: Sequence[str], low: int, high: int, partition: int | None) -> History:
    parser = BatchParser(fingerprinter=fingerprinter(install), prices=PriceBook(), max_future_s=None)
    table, dead = read_events((line for name in files for line in read_lines(name)), parser)
    what = counted(len(files), "file") + (f" ({counted(len(dead), 'record')} could not be taken)" if dead else "")
    times = table["ts_ms"].to_numpy()
    start, end = np.searchsorted(times, (low, high)).tolist()
    if start >= end:
        raise UserError(f"{what}: no events{' in that time' if len(times) else ''}")
    rows = table.slice(start, end - start).combine_chunks().to_batches()[0]
    if partition is not None:
        rows = split_by_partition(rows, install.folder.wiring.kafka.partitions).get(partition, rows.slice(0, 0))
    return History(what, int(times[start]), int(times[end - 1]), rows.num_rows, lambda: iter([rows]))


def in_steps(history: History, *, label: str, err: Console) -> Iterator[pa.RecordBatch]:
    """The frames in pieces of a few thousand rows; on a terminal with a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(label, total=history.events)
        for frame in history.frames():
            for start in range(0, frame.num_rows, _ROWS):
                part = frame.slice(start, _ROWS)
                yield part
                progress.advance(task, part.num_rows)
