"""The demo on a terminal (live, rich) or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from alerting.message import plain
from schemas.records import AuditRow, Command, Finding, Incident, Outcome, Record
from service.demo_report import Bill
from service.demo_watch import Watch
from service.worker import Worker

_TOP: Final = 10
_STORY: Final = 12
_EVERY_S: Final = 0.2


class Screen(Protocol):
    """Where the demo is seen."""

    def say(self, words: str) -> None: ...

    def progress(self, words: str) -> None: ...

    def show(self, worker: Worker, watch: Watch, words: str) -> None: ...

    def finish(self, bill: Bill, watch: Watch, report: Path) -> None: ...


@contextmanager
def new_screen(console: Console) -> Iterator[Screen]:
    """Live on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield PlainScreen(console)
        return
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        yield LiveScreen(console, live)


class PlainScreen:
    """One line for each thing that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._next_progress_s = 0.0

    def say(self, words: str) -> None:
        self._console.print(words, markup=False)

    def progress(self, words: str) -> None:
        if time.monotonic() >= self._next_progress_s:
            self._next_progress_s = time.monotonic() + 5
            self.say(words)

    def show(self, worker: Worker, watch: Watch, words: str) -> None:
        for record in watch.told[self._told :]:
            line = sentence(record)
            if line:
                self.say(line)
        self._told = len(watch.told)

    def finish(self, bill: Bill, watch: Watch, report: Path) -> None:
        _finish(self._console, bill, watch, report)


class LiveScreen:
    """Keys and velocities above, what happens below."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._words = ""
        self._drawn_s = 0.0

    def say(self, words: str) -> None:
        self._words = words
        self._live.update(Panel(words, title="keyfuse demo"))

    def progress(self, words: str) -> None:
        self.say(words)

    def show(self, worker: Worker, watch: Watch, words: str) -> None:
        if time.monotonic() - self._drawn_s < _EVERY_S:
            return
        self._drawn_s = time.monotonic()
        story = Text("\n".join(filter(None, map(sentence, watch.told[-_STORY:]))))
        self._live.update(
            Group(Panel(words, title="keyfuse demo"), _keys(worker, watch), Panel(story, title="what happens"))
        )

    def finish(self, bill: Bill, watch: Watch, report: Path) -> None:
        self._live.stop()
        _finish(self._console, bill, watch, report)


def sentence(record: Record) -> str:
    """One line a person can follow; empty for what is only detail."""
    match record:
        case Finding():
            return f"finding   {record.family:9} {record.key_id}: {record.reason}"
        case Incident():
            return f"incident  {record.severity:9} {record.state}: {record.transition}"
        case Command():
            return f"command   {record.step:9} {record.key_id}: {record.reason}"
        case Outcome():
            took = f" after {record.seconds_to_effective:.2f} s" if record.seconds_to_effective is not None else ""
            return f"outcome   {record.step:9} {record.state.value}{took}: {record.detail or record.rule}"
        case AuditRow() if record.action.endswith((".probe", ".read_back")):
            return f"verify    {record.action.rsplit('.', 1)[-1]:9} {record.detail.get('answer', record.result)}"
        case _:
            return ""


def _keys(worker: Worker, watch: Watch) -> Table:
    table = Table(title="keys by spend in the last minute", expand=True)
    for column in ("key", "requests/min", "tokens/min", "USD/min", "USD/h", "state"):
        table.add_column(column, justify="left" if column in ("key", "state") else "right")
    uses = [use for core in worker.score.cores() for use in core.summary()] if worker.score else []
    states = {incident.key_id: incident.state for incident in watch.incidents.values()}
    for use in sorted(uses, key=lambda use: use.usd_1m, reverse=True)[:_TOP]:
        state = states.get(use.key_id, "")
        table.add_row(
            use.key_id, f"{use.requests_1m:,.0f}", f"{use.tokens_1m:,.0f}", f"{use.usd_1m:.3f}", f"{use.usd_1h:.2f}",
            state, style="bold red" if state in ("open", "acknowledged") else "green" if state == "contained" else "",
        )  # fmt: skip
    return table


def _finish(console: Console, bill: Bill, watch: Watch, report: Path) -> None:
    incidents = [record for record in watch.of(bill.key.key_id) if isinstance(record, Incident)]
    if incidents:
        console.print("\nthe message people get:\n", markup=False)
        console.print(plain(incidents[-1]), markup=False)
    console.print("\nthe bill:\n", markup=False)
    width = max(len(name) for name, _ in bill.lines)
    for name, value in bill.lines:
        console.print(f"  {name:{width}}  {value}", markup=False)
    console.print(f"\nreport: {report}", markup=False)
