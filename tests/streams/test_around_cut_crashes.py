"""A process that dies at any moment of a switch: in the end the backup was live before the cut, or all is as before."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from containment.orders import sign
from containment.providers.errors import Reason, Refused
from containment.providers.memory import Fault, unavailable
from schemas.records import Command, Outcome, Record, Step, StepState
from streams.topics import Topic
from tests.streams.test_around_cut import AS_BEFORE, LIVE, NEW, OLD, OTHER, SPARE, World, command
from tests.streams.world import KEY, SIGNER, MemoryOutbox, MemoryShards


class Crash(BaseException):
    """The process dies here."""


class Mortal(World):
    """Dies before or after the n-th thing it does, as often as it is told to; then the next process takes over."""

    def __init__(self, freeze_file: Path, deaths: Iterable[int] = (), **backup: Any) -> None:
        self.deaths = list(deaths)
        self.left = -1
        super().__init__(freeze_file, **backup)
        self.store, self.outbox = Shards(self), Box(self)
        self.on_call = lambda _: self.live()
        self.stage = self.new_stage()
        self.died = 0
        self.on_death: Callable[[], object] = lambda: None

    def live(self) -> None:
        if self.left == 0:
            self.left = -1
            raise Crash
        self.left -= self.left > 0

    async def to_the_end(self, order: Command) -> Outcome:
        """The same record again and again, until it is acknowledged."""
        done: list[bool] = []
        record = sign(order, SIGNER, now_ms=self.now_ms).to_bytes()
        while not done:
            self.stage, self.left = self.new_stage(), self.deaths.pop(0) if self.deaths else -1
            try:
                await self.stage.on_record(record, done=lambda: done.append(True))
                await asyncio.gather(*self.stage._running)
            except Crash:
                self.died += 1
                self.on_death()
        self.left = -1
        return [o for o in self.outbox.of(Topic.OUTCOMES) if isinstance(o, Outcome) and o.step == order.step][-1]


class Shards(MemoryShards):
    def __init__(self, world: Mortal) -> None:
        super().__init__()
        self.world = world

    async def put(self, partition: int, key: bytes, value: bytes) -> None:
        self.world.live()
        await super().put(partition, key, value)
        self.world.live()


class Box(MemoryOutbox):
    def __init__(self, world: Mortal) -> None:
        super().__init__()
        self.world = world

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        self.world.live()
        sent = await super().send(topic, records)
        self.world.live()
        return sent


def spoken(world: World) -> bytes:
    """All that leaves the stage."""
    told = [record.to_bytes() for topic in Topic for record in world.outbox.of(topic)]
    return b"\n".join([*told, *world.store.values.values()])


async def test_dying_once_anywhere_in_a_switch_a_cut_and_a_restore_changes_nothing_in_the_end(tmp_path: Path) -> None:
    orders: list[tuple[Step, tuple[bool, str, str]]] = [("disable", LIVE), ("restore", (False, OLD, "allow False"))]
    moments = 0
    for number, (step, after) in enumerate(orders):
        while True:
            world = Mortal(tmp_path / "FREEZE", if_switch_fails="wait")
            for earlier, _ in orders[:number]:
                await world.to_the_end(command(earlier))
            world.deaths = [moments]
            await world.to_the_end(command(step, at_s=number, by="keyfuse" if step == "disable" else "ana"))
            assert (world.look(), set(world.at_the_cut)) == (after, {LIVE})
            assert not any(value in spoken(world) for value in (OLD.encode(), NEW.encode()))
            if not world.died:
                break
            moments += 1
        assert moments > 40, "a switch, a cut and a restore do more than that"
        moments = 0


FAULTS = st.lists(
    st.sampled_from([None, None, None, unavailable(), Refused(Reason.FORBIDDEN, "no permission")]), max_size=14
)


@settings(max_examples=300, deadline=None)
@example(  # it dies after the cut failed, before anybody heard of it, and wakes up frozen
    deaths=[49], vault=[], provider=[None] * 7 + [Refused(Reason.FORBIDDEN, "no permission")], frozen_at=6,
    policy="wait", shared=False,
)  # fmt: skip
@given(
    deaths=st.lists(st.integers(0, 60), max_size=4), vault=FAULTS, provider=FAULTS, frozen_at=st.integers(0, 200),
    policy=st.sampled_from(["wait", "cut"]), shared=st.booleans(),
)  # fmt: skip
def test_whatever_fails_and_whenever_it_dies_nobody_is_cut_without_a_word(
    deaths: list[int], vault: list[Exception | None], provider: list[Exception | None], frozen_at: int, policy: str,
    shared: bool,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        world = Mortal(Path(folder) / "FREEZE", deaths, if_switch_fails=policy)
        asyncio.run(story(world, vault, provider, frozen_at, shared=shared))


async def story(
    world: Mortal, vault: list[Exception | None], provider: list[Exception | None], frozen_at: int, *, shared: bool
) -> None:
    if shared:
        deaths, world.deaths = world.deaths, []
        await world.to_the_end(command(key_id=OTHER))
        world.deaths, world.at_the_cut = deaths, []
    before = dict(world.provider._level), dict(world.vault.secrets)
    world.vault.faults.extend(vault)
    world.provider.faults.extend(Fault(error=error) if error else Fault("after") for error in provider)
    calls = 0

    def count(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == frozen_at:
            world.freeze_file.write_text("x")
        world.live()

    world.on_call = count
    outcome = await world.to_the_end(command())
    failed = [told for told in world.switches() if told.state is StepState.IRREVOCABLE]
    for moment in world.at_the_cut:
        assert moment == LIVE or (world.responses.backup.if_switch_fails == "cut" and failed)
    if outcome.state is StepState.REFUSED and not failed:
        assert (dict(world.provider._level), dict(world.vault.secrets)) == before
    if outcome.state is StepState.REFUSED and outcome.rule == "backup":
        assert world.level(KEY) == "active"
        assert failed
    world.on_call = lambda _: None
    world.vault.faults.clear()
    world.provider.faults.clear()
    world.freeze_file.unlink(missing_ok=True)
    held = world.vault.secrets["shop"]
    await world.to_the_end(command("restore", at_s=600, by="ana"))
    if world.level(KEY) != "active":
        assert (outcome.state, world.vault.secrets["shop"]) == (StepState.IRREVOCABLE, held)
        return
    assert world.vault.secrets["shop"] == OLD
    assert (world.level(SPARE) == "active") == shared
    assert not any(value in spoken(world) for value in (OLD.encode(), NEW.encode()))


@pytest.mark.parametrize("moment", range(0, 60, 4))
async def test_a_freeze_while_nobody_was_there_leaves_no_switch_half_done(moment: int, tmp_path: Path) -> None:
    world = Mortal(tmp_path / "FREEZE", [moment])
    world.on_death = lambda: world.freeze_file.write_text("x")
    outcome = await world.to_the_end(command())
    if outcome.state is StepState.CONFIRMED:  # it was cut before the freeze, and that is known
        assert (world.look(), world.level(KEY)) == (LIVE, "disable")
    else:
        assert (outcome.rule, world.level(KEY)) in {("freeze", "active"), ("freeze_file", "active")}
        assert world.look()[:2] == AS_BEFORE[:2]


@pytest.mark.parametrize("moment", range(0, 60, 4))
async def test_an_outage_longer_than_orders_live_leaves_no_switch_half_done(moment: int, tmp_path: Path) -> None:
    world = Mortal(tmp_path / "FREEZE", [moment])

    def two_hours_pass() -> None:
        world.now_ms += 7_200_000

    world.on_death = two_hours_pass
    outcome = await world.to_the_end(command())
    if outcome.state is StepState.CONFIRMED:
        assert (world.look(), world.level(KEY)) == (LIVE, "disable")
    else:
        assert (outcome.rule, world.level(KEY)) == ("expired", "active")
        assert world.look() == AS_BEFORE


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("moment", range(0, 60, 3))
async def test_gates_do_not_deny_a_key_whose_cut_a_freeze_forbids_after_a_restart(
    moment: int, tmp_path: Path, *, backed: bool
) -> None:
    world = Mortal(tmp_path / "FREEZE", [moment])
    if not backed:
        world.backups.clear()
    world.on_death = lambda: world.freeze_file.write_text("x")
    outcome = await world.to_the_end(command())
    verdict = world.verdict()
    denied = verdict is not None and verdict.state == "deny"
    assert denied == (outcome.state is StepState.CONFIRMED)
