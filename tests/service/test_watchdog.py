"""A stage that lives and no longer commits begins anew; one that is idle, slow, waiting or somebody else's does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from schemas.records import Incident
from service.renewed import Renewed
from service.watchdog import Tell, Watchdog, Watched
from streams.errors import StreamError
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.standstill import Place, Standstill
from streams.stuck_words import stuck_page

A, B = TopicPartition("usage.frames", 0), TopicPartition("usage.frames", 1)
Seen = dict[TopicPartition, Place]


@pytest.mark.parametrize(
    ("looks", "mine", "stuck"),
    [
        pytest.param([{A: Place(5, 9)}] * 3, {A}, True, id="records wait and the commit stands"),
        pytest.param([{A: Place(5, 9)}] * 3, set(), True, id="... also when it never came back to its group"),
        pytest.param([{A: Place(9, 9)}] * 3, {A}, False, id="idle"),
        pytest.param([{A: Place(n, 900)} for n in range(3)], {A}, False, id="slow, far behind, and moving"),
        pytest.param([{A: Place(5, 9)}, {A: Place(3, 9)}, {A: Place(3, 9)}], {A}, False, id="begun again further back"),
        pytest.param([{A: Place(5, 9), B: Place(9, 9)}] * 3, {B}, False, id="it is another worker's"),
        pytest.param([{A: Place(9, 9)}] * 9 + [{A: Place(9, 10)}] * 2, {A}, False, id="the first record after silence"),
    ],
)
def test_standing_still(looks: list[Seen], mine: Collection[TopicPartition], stuck: bool) -> None:
    still = Standstill(after_s=60)
    said = [still.look(seen, mine, now_s=30.0 * at) for at, seen in enumerate(looks)]
    assert [bool(found) for found in said] == [False] * (len(looks) - 1) + [stuck]


def test_time_in_which_nothing_could_be_known_does_not_count() -> None:
    still = Standstill(after_s=60)
    assert still.look({A: Place(5, 9)}, {A}, now_s=0) == []
    still.forget()
    assert still.look({A: Place(5, 9)}, {A}, now_s=100) == []


STANDS, IDLE, MOVES = Place(5, 9), Place(9, 9), None


@pytest.mark.parametrize(
    ("first", "second", "in_vain"),
    [
        pytest.param(STANDS, MOVES, [{A: 1}, {A: 2}, {A: 3}], id="one stands and the other moves"),
        pytest.param(MOVES, STANDS, [{B: 1}, {B: 2}, {B: 3}], id="... whichever it is"),
        pytest.param(STANDS, IDLE, [{A: 1}, {A: 2}, {A: 3}], id="one stands and the other has nothing to read"),
        pytest.param(STANDS, STANDS, [{A: 1, B: 1}, {A: 2, B: 2}, {A: 3, B: 3}], id="both stand: both count"),
        pytest.param(MOVES, MOVES, [], id="both move"),
    ],
)
def test_each_partition_counts_by_itself(
    first: Place | None, second: Place | None, in_vain: list[dict[TopicPartition, int]]
) -> None:
    """Looked at every 30 s for 270 s: a stage that stands is begun anew every 90 s."""
    still, counted = Standstill(after_s=60), []
    for at in range(9):
        moving = Place(at, 900)
        found = still.look({A: first or moving, B: second or moving}, {A, B}, now_s=30.0 * at)
        counted.append({TopicPartition(A.topic, int(one.where.split()[0][-1])): one.in_vain for one in found})
    assert [count for count in counted if count] == in_vain


def test_one_that_moves_again_counts_from_the_beginning_and_the_other_goes_on() -> None:
    still = Standstill(after_s=60)
    places = [{A: STANDS, B: STANDS}] * 3 + [{A: STANDS, B: Place(6, 9)}] * 3
    found = [one for at, seen in enumerate(places) for one in still.look(seen, {A, B}, now_s=30.0 * at)]
    assert [(one.where[13:], one.in_vain) for one in found] == [
        ("0 stands at 5", 1), ("1 stands at 5", 1), ("0 stands at 5", 2), ("1 stands at 6", 1)
    ]  # fmt: skip


class World:
    """One stage and what its watchdog did."""

    def __init__(self, *, embedded: bool = False, tell: Tell | None = None) -> None:
        self.restarts: list[str] = []
        self.told: list[tuple[str, ...]] = []
        self.gave_up: list[str] = []
        self.place: Place | None = Place(5, 9)
        self.others: Callable[[float], Seen] = lambda _now_s: {}
        """The further partitions of the stage, by the time."""
        self.now_s = 0.0
        self.progress, self.metrics = StageProgress("score", 0), Metrics()
        stage = Watched("score", "g", [A, B], lambda: {A, B}, self.restarts.append, self.progress)
        give_up = None if embedded else self.gave_up.append
        self._dog = Watchdog(
            "b", [stage], after_s=60, metrics=self.metrics, give_up=give_up, look=self._look,
            tell=tell or self._tell, tell_within_s=0.01,
        )  # fmt: skip

    async def _tell(self, *said: str) -> None:
        assert not self.gave_up, "people are told before the worker ends"
        self.told.append(said)

    async def _look(self, _bootstrap: str, _group: str, _tps: Collection[TopicPartition]) -> Seen:
        if self.place is None:
            raise KafkaConnectionError
        return {A: self.place} | self.others(self.now_s)

    async def after(self, seconds: float) -> World:
        """It looks every 15 s."""
        for _ in range(round(seconds / 15)):
            self.now_s += 15
            for stage, still in self._dog._stages:
                await self._dog._watch(stage, still, lambda: self.now_s)
        return self


async def test_it_is_begun_anew_twice_and_then_the_worker_ends() -> None:
    world = await World().after(80)
    assert world.restarts == ["stuck: usage.frames-0 stands at 5 for 60 s, 4 records behind"]
    assert b'keyfuse_stage_stuck_total{stage="score"} 1.0' in world.metrics.render()
    assert world.told == []
    await world.after(150)
    assert (len(world.restarts), len(world.gave_up)) == (2, 1)
    assert world.told == [
        ("score", "usage.frames-0 stands at 5", "usage.frames-0 stands at 5 for 60 s, 4 records behind")
    ]


async def test_a_partition_that_stands_while_another_commits_ends_the_worker_too() -> None:
    world = World()
    world.others = lambda now_s: {B: Place(round(now_s), 9000)}
    await world.after(230)
    assert (len(world.restarts), len(world.gave_up)) == (2, 1)
    assert [where for _, where, _ in world.told] == ["usage.frames-0 stands at 5"]


async def test_of_partitions_that_stand_together_people_are_told_once() -> None:
    world = World()
    world.others = lambda _now_s: {B: Place(7, 9)}
    await world.after(230)
    assert world.told == [(
        "score", "usage.frames-0 stands at 5",
        "usage.frames-0 stands at 5 for 60 s, 4 records behind; other partitions that stand still: 1",
    )]  # fmt: skip


async def test_one_that_stands_still_later_is_told_of_too() -> None:
    world = World(embedded=True)
    world.others = lambda now_s: {B: Place(min(round(now_s), 300), 9000)}
    await world.after(1200)
    assert [where for _, where, _ in world.told] == ["usage.frames-0 stands at 5", "usage.frames-1 stands at 300"]


async def _hangs(*_: str) -> None:
    await asyncio.Event().wait()


async def _refused(*_: str) -> None:
    raise TopicAuthorizationFailedError


@pytest.mark.parametrize("tell", [_hangs, _refused])
async def test_the_worker_ends_also_where_people_cannot_be_told(tell: Tell) -> None:
    assert len((await World(tell=tell).after(230)).gave_up) == 1


def test_a_worker_that_comes_to_the_same_end_again_calls_people_once() -> None:
    def page(stage: str = "score", where: str = "usage.frames-0 stands at 5", at_ms: int = 0) -> Incident:
        return stuck_page(stage, where, f"{where} for {300 + at_ms // 1000} s", ends=True, now_ms=at_ms)

    first = page()
    assert (first.severity, first.key_id, first.state) == ("critical", "keyfuse", "open")
    assert page(at_ms=1_000_000).incident_id == first.incident_id
    others = [page("ingest"), page(where="usage.frames-0 stands at 6"), page(at_ms=86_400_000)]
    assert len({first.incident_id} | {other.incident_id for other in others}) == 4


async def test_what_helped_counts_from_the_beginning() -> None:
    world = await World().after(150)
    for moved in range(6, 9):
        world.place = Place(moved, 90)
        await world.after(80)
    assert (len(world.restarts) > 3, world.gave_up) == (True, [])


async def test_where_the_broker_would_end_with_the_worker_it_is_only_begun_anew() -> None:
    world = await World(embedded=True).after(600)
    assert len(world.restarts) > 5
    assert len(world.told) == 1


async def test_it_bears_with_a_broker_that_is_away_and_with_a_stage_that_waits_for_the_store() -> None:
    world = World()
    world.place = None
    await world.after(300)
    world.place, world.progress.waiting = Place(5, 9), "the store"
    await world.after(300)
    assert world.restarts == []


class Deaf:
    """A loop that waits for records that never come to it."""

    def __init__(self) -> None:
        self.closed = False
        self.runs = asyncio.Event()

    async def run(self) -> None:
        self.runs.set()
        await asyncio.Event().wait()

    def stop(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    def assigned(self) -> Collection[TopicPartition]:
        return []


async def test_a_loop_that_stands_still_is_replaced() -> None:
    loops = [Deaf(), Deaf()]
    made = iter(loops[1:])

    async def another() -> Deaf:
        return next(made)

    kept = Renewed(loops[0], another)
    running = asyncio.create_task(kept.run())
    await loops[0].runs.wait()
    kept.restart("stuck: it stands")
    with pytest.raises(StreamError, match="it stands"):
        await running
    again = asyncio.create_task(kept.run())
    await loops[1].runs.wait()
    assert loops[0].closed
    again.cancel()  # a worker that ends is no loop that is stuck
    with pytest.raises(asyncio.CancelledError):
        await again
