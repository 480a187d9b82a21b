"""Simulated histories of ingest, score and archive keep every promise, and find whoever breaks one.

KEYFUSE_HISTORIES=3000 plays as many, thirty of each traffic; `make sim` plays 100,000 on two cores.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import storage.archive
from benchmarks.sim.luck import MENUS
from benchmarks.sim.remembered import MEMORY
from benchmarks.sim.run import one, smallest, some
from benchmarks.sim.world import HISTORIES_EACH, World
from detectors import intake
from detectors.retries import RetryFilter
from sources.alignment import Alignment
from storage.archive import Batch, PartitionArchive
from storage.checkpoint import Checkpoint as Archived
from storage.seen import SeenEvents
from streams.changelog import Changelog
from streams.checkpoint import Checkpoint
from streams.ingest import InFlight, IngestLoop

HISTORIES = int(os.environ.get("KEYFUSE_HISTORIES", "120"))
_EACH = 30


@pytest.fixture(autouse=True)
def nothing_is_remembered() -> Iterator[None]:
    """Of what the code said before a test changed it, nor after."""
    MEMORY.forget()
    yield
    MEMORY.forget()


@pytest.mark.parametrize("traffic", range(HISTORIES // _EACH))
def test_every_promise_is_kept(traffic: int) -> None:
    found = some(traffic * HISTORIES_EACH, _EACH).wrong
    assert not found, "see `python -m benchmarks.sim.run --seed N` for each N of these"


def test_the_same_seed_is_the_same_history() -> None:
    def told(seed: int) -> tuple[Any, ...]:
        world, found = one(seed)
        return world.luck.told, world.broker.logs, world.tables.rows, world.lives, found

    assert told(11) == told(11)


def test_histories_are_hard_enough_to_matter() -> None:
    """Every menu, every fault, more than one life and both sinks, within the first few."""
    total = some(1000, 70, step=HISTORIES_EACH)
    assert {World(seed).luck.menu for seed in range(1000, 1070)} == set(MENUS)
    assert {
        "dies before",
        "dies after",
        "sleeps",
        "fails before",
        "fails after",
        "is slow",
        "comes twice",
        "moves",
    } <= (total.faults.keys())
    assert total.lives > 3 * total.histories
    assert total.events > 4 * total.histories


def test_what_is_remembered_is_what_would_be_worked_out() -> None:
    """A history among the hundred of its traffic, and the same by itself."""
    some(300, 25)
    among, found = one(325)
    MEMORY.forget()
    alone, found_alone = one(325)
    assert (among.luck.told, among.broker.logs, among.tables.rows, found) == (
        alone.luck.told, alone.broker.logs, alone.tables.rows, found_alone
    )  # fmt: skip


Break = Callable[[pytest.MonkeyPatch], None]


def commit_before_the_frames_are_safe(patch: pytest.MonkeyPatch) -> None:
    kept = IngestLoop._finish

    async def finish(loop: IngestLoop, sent: InFlight) -> None:
        await kept(loop, sent._replace(acks=()))

    patch.setattr(IngestLoop, "_finish", finish)


def commit_rows_that_are_held_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Alignment, "_resume", lambda _: {})


def acknowledge_what_no_shard_covers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkpoint, "ackable", lambda checkpoint: checkpoint._last)


def fold_without_coordinates(patch: pytest.MonkeyPatch) -> None:
    kept = intake.beyond

    def beyond(*columns: Any) -> Any:
        return np.ones_like(kept(*columns))

    patch.setattr(intake, "beyond", beyond)
    patch.setattr(RetryFilter, "repeated", lambda *_: [])  # it would know many of them by their event ids


def insert_under_a_new_token_each_time(patch: pytest.MonkeyPatch) -> None:
    kept, numbers = PartitionArchive.batch, itertools.count()

    def batch(archive: PartitionArchive, known: Any = None) -> Batch:
        return replace(kept(archive, known), token=f"token {next(numbers)}")

    patch.setattr(PartitionArchive, "batch", batch)


def forget_the_edges_of_a_batch(patch: pytest.MonkeyPatch) -> None:
    kept = Archived.read

    def read(offset: int, metadata: str) -> Archived | None:
        found = kept(offset, metadata)
        return found and replace(found, end=None)

    patch.setattr(Archived, "read", read)


def archive_without_coordinates(patch: pytest.MonkeyPatch) -> None:
    def above(coords: dict[int, int], rows: pa.Table) -> Any:
        return np.ones(rows.num_rows, np.bool_), coords

    patch.setattr(storage.archive, "above", above)
    patch.setattr(SeenEvents, "near", lambda _, hashes, __: np.zeros(len(hashes), np.bool_))


def leave_state_unclaimed(patch: pytest.MonkeyPatch) -> None:
    async def claim(_: Changelog, __: int) -> None: ...

    patch.setattr(Changelog, "claim", claim)


@pytest.mark.parametrize(
    ("breaks", "role", "menu"),
    [
        (commit_before_the_frames_are_safe, "ingest", "crashes"),
        (commit_rows_that_are_held_back, "ingest", "crashes"),
        (acknowledge_what_no_shard_covers, "score", "crashes"),
        (fold_without_coordinates, "score", "crashes"),
        (insert_under_a_new_token_each_time, "archive", "crashes"),
        (forget_the_edges_of_a_batch, "archive", "crashes"),
        (archive_without_coordinates, "archive", "everything"),
        (leave_state_unclaimed, "score", "zombies"),
    ],
)
def test_who_breaks_a_promise_is_found(monkeypatch: pytest.MonkeyPatch, breaks: Break, role: str, menu: str) -> None:
    breaks(monkeypatch)
    assert first_caught(role, menu) is not None


def first_caught(role: str, menu: str, most: int = 90) -> int | None:
    """The first seed of so many with these faults in which something is wrong."""
    worlds = (World(seed) for seed in itertools.count(2000))
    fit = (world.seed for world in worlds if role in world.roles and world.luck.menu == menu and world.luck.left > 1)
    return next((seed for seed in itertools.islice(fit, most) if one(seed)[1]), None)


def test_a_history_that_fails_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledge_what_no_shard_covers(monkeypatch)
    seed = first_caught("score", "crashes")
    assert seed is not None
    world, found = smallest(seed)
    assert found
    assert len(world.sent.records) <= len(World(seed).sent.records)


@pytest.mark.parametrize("broken", ["breaks off", "a callback fails"])
def test_a_history_that_breaks_off_is_a_wrong_one_and_the_others_are_played(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    done = World._done

    def breaks(world: World) -> bool:
        if world.seed == 11 and broken == "breaks off":
            raise ZeroDivisionError
        if world.seed == 11:
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        return done(world)

    monkeypatch.setattr(World, "_done", breaks)
    total = some(10, 3)
    assert total.histories == 3
    assert list(total.wrong) == [11]
    assert "ZeroDivisionError" in total.wrong[11][0]
