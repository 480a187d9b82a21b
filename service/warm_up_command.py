"""`keyfuse warm-up`: learn what is normal from history, before the first worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from alerting.words import clean, counted
from schemas.records import rfc3339
from service import warm_up_file
from service.errors import UserError
from service.history import History, Wanted, in_steps, open_history
from service.install import Install, Running, wall_ms
from service.labels import marks_for
from service.warm_up import THIN_WINDOWS, CohortBasis, Learned, State, learn
from streams.kafka import create_topics, wait_for_broker
from streams.topics import StateTopic
from streams.warm_state import changelog_of, holds_state, is_read_by_someone, write_state

_SHOWN: Final = 5
_AGAIN: Final = "`--replace` throws it away and learns anew"


def main(wanted: Wanted, config: Path, *, replace: bool, out: Console, err: Console) -> None:
    """One install, named by its folder."""
    warm_up(Install.open(config), wanted, replace=replace, now_ms=wall_ms(), out=out, err=err)


def warm_up(install: Install, wanted: Wanted, *, replace: bool, now_ms: int, out: Console, err: Console) -> Learned:
    """Refuse before the work what would be refused after it; then learn, then write. Blocking."""
    if Running.find(install.data_dir) is not None:
        raise UserError(f"`keyfuse up` runs in {install.data_dir} and learns by itself; stop it first")
    embedded = install.folder.wiring.kafka.bootstrap == "embedded"
    _check_file(install, replace=replace) if embedded else asyncio.run(_check_broker(install, replace=replace))
    since, until = wanted.bounds(now_ms)
    # An event of tomorrow would set the clock: until then nothing live would be in its own second.
    until = now_ms if until is None else min(until, now_ms)
    marks = marks_for(install, wanted)
    with open_history(install, wanted.files, from_ms=since, until_ms=until) as history:
        frames = in_steps(history, label="learning", err=err)
        learned = learn(install.folder, frames, marks=marks, last_ms=history.last_ms)
    out.print("\n".join([*report(learned, history), _saved(install, learned, embedded=embedded)]), markup=False)
    return learned


def _saved(install: Install, learned: Learned, *, embedded: bool) -> str:
    if embedded:
        warm_up_file.save(warm_up_file.path_of(install), learned.states)
        return f"written to {warm_up_file.path_of(install)}; `keyfuse up` begins with it"
    written = asyncio.run(_write(install, learned.states))
    topic = install.topics.state_name(StateTopic.SCORE)
    return f"written to the topic {topic} ({written:,} bytes); now start the workers"


def _check_file(install: Install, *, replace: bool) -> None:
    path = warm_up_file.path_of(install)
    if path.exists() and not replace:
        raise UserError(f"{path} holds what an earlier warm-up learned; {_AGAIN}")


async def _check_broker(install: Install, *, replace: bool) -> None:
    bootstrap, topics = install.folder.wiring.kafka.bootstrap, install.topics
    await wait_for_broker(bootstrap, timeout_s=5)
    await create_topics(bootstrap, topics.specs(), replication_factor=install.folder.wiring.kafka.replication_factor)
    if await is_read_by_someone(bootstrap, f"{topics.prefix}keyfuse-score"):
        raise UserError("a worker with the role score runs and would write over it; stop the score workers first")
    async with changelog_of(bootstrap, topics.state_name(StateTopic.SCORE)) as changelog:
        if not replace and await holds_state(changelog, topics.partitions):
            raise UserError(f"{topics.state_name(StateTopic.SCORE)} holds what the workers have learned; {_AGAIN}")


async def _write(install: Install, states: list[State]) -> int:
    bootstrap, topic = install.folder.wiring.kafka.bootstrap, install.topics.state_name(StateTopic.SCORE)
    async with changelog_of(bootstrap, topic) as changelog:
        return await write_state(changelog, states)


def report(learned: Learned, history: History) -> Iterator[str]:
    """How much was learned, what each cohort's calibration rests on, and whether the history itself is clean."""
    yield (
        f"learned from {history.what}, {_day(history.first_ms)} to {_day(history.last_ms)} UTC: "
        f"{counted(learned.keys, 'key')}, {counted(learned.windows, 'active 10-minute window')}"
    )
    yield "each cohort's calibration rests on:"
    for cohort in learned.cohorts:
        yield f"  {_basis(cohort)}"
    if learned.suspicious:
        yield _suspicion(learned.suspicious)


def _basis(cohort: CohortBasis) -> str:
    least, most = min(cohort.windows, key=cohort.windows.__getitem__), max(cohort.windows.values())
    thin = f"; fewer than {THIN_WINDOWS:.0f}: the built-in prior counts more" if cohort.thin else ""
    return (
        f"{clean(f'{cohort.env}/{cohort.provider}', 60)}: {counted(cohort.keys, 'key')}, up to {most:,.0f} windows "
        f"(fewest: {least}, {cohort.windows[least]:,.0f}){thin}"
    )


def _suspicion(suspicious: dict[str, int]) -> str:
    named = [f"{clean(key_id, 60)} ({counted(found, 'finding')})" for key_id, found in suspicious.items()]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return (
        f"the history itself was suspicious of {counted(len(named), 'key')}, which was learned with caution: "
        f"{', '.join(named[:_SHOWN])}{more}; `keyfuse explain KEY --at TIME` says why"
    )


def _day(ms: int) -> str:
    return rfc3339(ms)[:16].replace("T", " ")
