"""The contain stage: judged by the caps, ended for certain, the same after a restart."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from containment.orders import sign
from containment.providers.errors import Reason, Refused
from containment.providers.memory import Fault, MemoryProvider, unavailable
from schemas.config import ResponsesConfig
from schemas.config.responses import RetryConfig
from schemas.records import AuditRow, Command, Incident, Outcome, PartitionStats, Request, Step, StepState
from streams.contain import ContainDeps, ContainStage
from streams.contain_gate import Trust
from streams.metrics import Metrics
from streams.topics import Topic
from tests.streams.world import FACTS, KEY, SIGNER, T0, TRUST, MemoryOutbox, MemoryShards

STATS = PartitionStats(
    partition=0, at_ms=T0, clock_s=T0 // 1000, active_keys=12, known_keys=12, active_registered_keys=3
)


class Crash(BaseException):
    """The process dies here."""


class World:
    """A contain stage over a provider in memory, and what it said."""

    def __init__(self, freeze_file: Path) -> None:
        self.store, self.outbox = MemoryShards(), MemoryOutbox()
        self.provider = MemoryProvider("memory", (KEY, *(f"key-{n}" for n in range(40))))
        self.freeze_file = freeze_file
        self.metrics = Metrics()
        self.now_ms = T0
        self.registered = {KEY, *(f"key-{n}" for n in range(59))}
        self.acked: list[str] = []
        self.stage = self.new_stage()

    def new_stage(self, trust: Trust = TRUST) -> ContainStage:
        responses = ResponsesConfig(mode="auto", retry=RetryConfig(attempts=2, wait_initial_s=0.01, verify_s=0.2))
        return ContainStage(
            ContainDeps(
                responses=lambda: responses, providers={"memory": self.provider}, store=self.store,
                outbox=self.outbox, metrics=self.metrics, now_ms=self.clock, sleep=self.sleep,
                freeze_file=self.freeze_file, registered=lambda: self.registered, trust=trust,
            )
        )  # fmt: skip

    def clock(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)

    async def run(self, command: Command | Request) -> list[Outcome]:
        """As decide orders it: signed, now."""
        return await self.read(sign(command, SIGNER, now_ms=self.now_ms).to_bytes())

    async def read(self, record: bytes) -> list[Outcome]:
        """Whatever stands in the topic."""
        before = len(self.outbox.of(Topic.OUTCOMES))
        await self.stage.on_record(record, done=lambda: self.acked.append(record.decode(errors="replace")))
        await self.stage.drain()
        return [o for o in self.outbox.of(Topic.OUTCOMES)[before:] if isinstance(o, Outcome)]

    async def refused(self, key_id: str = KEY) -> bool:
        effect = await self.provider.probe("disable", key_id)
        assert effect is not None
        return effect.state == "yes"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "FREEZE")


def command(
    step: Step = "disable", *, at_s: int = 0, key_id: str = KEY, mode: str = "auto", by: str = "keyfuse"
) -> Command:
    return Command(
        command_id=Command.id_of("inc_1", key_id, step), at_ms=T0 + at_s * 1000, incident_id="inc_1", key_id=key_id,
        step=step, automatic=by == "keyfuse", reversible=step != "revoke", mode=mode, by=by,
        approvals=() if by == "keyfuse" else (by,), reason="two families agree", facts=FACTS,
    )  # fmt: skip


async def test_a_cut_is_confirmed_and_audited(world: World) -> None:
    [outcome] = await world.run(command())
    assert (outcome.state, await world.refused()) == (StepState.CONFIRMED, True)
    assert world.acked
    actions = {row.action for row in world.outbox.of(Topic.AUDIT) if isinstance(row, AuditRow)}
    assert actions >= {"disable.apply", "disable.read_back", "disable.probe", "disable"}


async def test_the_same_record_read_again_is_answered_and_not_done_again(world: World) -> None:
    await world.run(command())
    audited = len(world.outbox.of(Topic.AUDIT))
    world.stage = world.new_stage()
    [outcome] = await world.run(command())
    assert outcome.state is StepState.CONFIRMED
    assert len(world.outbox.of(Topic.AUDIT)) == audited + 1


async def test_cut_given_back_and_cut_again_really_cuts_again(world: World) -> None:
    rounds: list[tuple[Step, bool]] = [("disable", True), ("restore", False), ("disable", True)]
    for number, (step, refused) in enumerate(rounds):
        [outcome] = await world.run(command(step, at_s=number, by="ana"))
        assert (outcome.state, await world.refused()) == (StepState.CONFIRMED, refused)


async def test_observe_mode_touches_nothing(world: World) -> None:
    [outcome] = await world.run(command(mode="observe"))
    assert (outcome.state, await world.refused()) == (StepState.DRY_RUN, False)


async def test_an_unapproved_step_waits_and_an_approved_one_runs(world: World) -> None:
    waiting = command(mode="approve").model_copy(update={"automatic": False})
    [outcome] = await world.run(waiting)
    assert (outcome.state, await world.refused()) == (StepState.AWAITING_APPROVAL, False)
    [outcome] = await world.run(command(at_s=9, by="ana"))
    assert (outcome.state, await world.refused()) == (StepState.CONFIRMED, True)


async def test_freeze_stops_automatic_steps_and_not_people(world: World) -> None:
    world.freeze_file.write_text("x")
    [outcome] = await world.run(command())
    assert (outcome.state, outcome.rule) == (StepState.REFUSED, "freeze_file")
    [outcome] = await world.run(command(at_s=1, by="ana"))
    assert outcome.state is StepState.CONFIRMED


async def test_freeze_and_unfreeze_by_record(world: World) -> None:
    def say(action: str) -> Request:
        return Request(request_id=action, at_ms=T0, by="ana", action=action, reason="odd")

    await world.run(say("freeze"))
    assert world.stage.frozen()
    [outcome] = await world.run(command())
    assert outcome.rule == "freeze"
    await world.run(say("unfreeze"))
    assert not world.stage.frozen()


async def test_many_keys_at_once_freeze_and_page_once(world: World) -> None:
    states = [(await world.run(command(key_id=f"key-{n}")))[0].state for n in range(40)]
    assert states.count(StepState.CONFIRMED) <= 5
    assert StepState.REFUSED in states
    pages = [i for i in world.outbox.of(Topic.INCIDENTS) if isinstance(i, Incident)]
    assert [(p.key_id, p.severity) for p in pages] == [("keyfuse", "critical")]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_key_of_a_provider_nobody_configured_ends_irrevocable(world: World, *, begun: bool) -> None:
    unknown = command().model_copy(update={"facts": FACTS.model_copy(update={"provider": "other"})})
    if begun:  # before a restart, while it was configured
        world.store.values[f"pre:{unknown.command_id}@{unknown.at_ms}".encode()] = b'{"status":"active"}'
    [outcome] = await world.run(unknown)
    assert (outcome.state, outcome.rule) == (StepState.IRREVOCABLE, "no_provider")


async def test_a_cut_that_was_made_before_a_restart_is_known_although_all_is_frozen_since(world: World) -> None:
    order = command()
    world.store.values[f"pre:{order.command_id}@{order.at_ms}".encode()] = b'{"status":"active"}'
    await world.provider.apply("disable", KEY)
    world.freeze_file.write_text("x")
    [outcome] = await world.run(order)
    assert outcome.state is StepState.CONFIRMED
    [outcome] = await world.run(command("restore", at_s=9, by="ana"))
    assert (outcome.state, await world.refused()) == (StepState.CONFIRMED, False)


class TestRestore:
    async def test_a_cut_that_nobody_saw_confirmed_is_undone_too_for_it_may_have_happened(self, world: World) -> None:
        world.provider.lag = 10_000
        [outcome] = await world.run(command())
        assert outcome.state is StepState.IRREVOCABLE
        assert (await world.provider.in_effect("disable", KEY)).state == "yes"
        world.provider.lag = 0
        [outcome] = await world.run(command("restore", at_s=5, by="ana"))
        assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 1)
        assert await world.provider.snapshot(KEY) == {"status": "active", "throttled": "no"}

    async def test_a_cut_ordered_again_goes_back_to_before_the_first(self, world: World) -> None:
        """The second finds it in effect. That was Keyfuse's own doing, not somebody's before."""
        world.provider.faults.append(Fault("after", unavailable(), on="change"))
        world.provider.faults.extend([Fault(error=unavailable())] * 99)
        [outcome] = await world.run(command())
        assert outcome.state is StepState.IRREVOCABLE
        world.provider.faults.clear()
        [outcome] = await world.run(command(at_s=600, by="ana"))
        assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 0)
        await world.run(command("restore", at_s=700, by="ana"))
        assert await world.provider.snapshot(KEY) == {"status": "active", "throttled": "no"}

    async def test_steps_are_undone_the_newest_first_whatever_was_ordered_again(self, world: World) -> None:
        steps: tuple[Step, ...] = ("throttle", "disable", "throttle", "restore")
        for at_s, step in enumerate(steps):
            await world.run(command(step, at_s=at_s, by="ana"))
        undone = [call for call, _ in world.provider.calls if call.startswith("undo")]
        assert undone == ["undo disable", "undo throttle"]

    async def test_a_restart_right_after_the_undo_knows_that_it_was_this_order_that_undid(self, world: World) -> None:
        await world.run(command(by="ana"))
        restore = sign(command("restore", at_s=5, by="ana"), SIGNER, now_ms=T0).to_bytes()
        world.store.crash_after = 3  # the ledger, what there is to undo, that nothing is left; not the last word
        await world.read(restore)
        world.store.crash_after, world.stage = None, world.new_stage()
        [outcome] = await world.read(restore)
        assert (outcome.state, outcome.attempts, await world.refused()) == (StepState.CONFIRMED, 0, False)


async def test_what_began_and_meets_a_cap_after_a_restart_is_looked_at_before_it_is_called_refused(
    world: World,
) -> None:
    done = sign(command(key_id="key-1"), SIGNER, now_ms=T0).to_bytes()
    world.provider.faults.append(Fault("after", Crash(), on="change"))
    with contextlib.suppress(Crash):
        await world.read(done)
    world.stage, world.now_ms = world.new_stage(), T0 + 700_000
    for number in range(2, 7):
        await world.run(command(key_id=f"key-{number}"))  # others have used up the ten minutes
    [outcome] = await world.read(done)
    assert (outcome.state, outcome.attempts, await world.refused("key-1")) == (StepState.CONFIRMED, 0, True)


async def test_what_began_and_did_nothing_is_refused_by_the_cap_it_meets(world: World) -> None:
    record = sign(command(key_id="key-1"), SIGNER, now_ms=T0).to_bytes()
    world.provider.faults.append(Fault("before", Crash(), on="change"))
    with contextlib.suppress(Crash):
        await world.read(record)
    world.stage, world.now_ms = world.new_stage(), T0 + 700_000
    for number in range(2, 7):
        await world.run(command(key_id=f"key-{number}"))
    [outcome] = await world.read(record)
    assert (outcome.state, outcome.rule, await world.refused("key-1")) == (StepState.REFUSED, "per_10min", False)


async def test_a_cool_down_written_while_a_verdict_is_stored_loses_neither(world: World) -> None:
    """Both read the ledger, change it and write it; the broker takes its time."""
    world.store.slow = True
    world.provider.faults.extend([Fault(error=Refused(Reason.FORBIDDEN, "no"))])
    failing = sign(command(key_id="key-1"), SIGNER, now_ms=T0).to_bytes()
    await world.stage.on_record(failing, done=lambda: None)
    for number in range(2, 6):
        await world.stage.on_record(
            sign(command(key_id=f"key-{number}"), SIGNER, now_ms=T0).to_bytes(), done=lambda: None
        )
    await world.stage.drain()
    world.store.slow = False
    [sixth] = await world.run(command(key_id="key-6"))
    [first] = await world.run(command(key_id="key-1", at_s=1))
    assert (sixth.rule, first.rule) == ("per_10min", "cooldown")


async def test_what_is_under_way_when_the_worker_ends_is_left_to_the_next_one(world: World) -> None:
    """Its provider is closed next: a call on that would pass for a broken adapter, and people would be called."""
    record = sign(command(), SIGNER, now_ms=T0).to_bytes()
    await world.stage.on_record(record, done=lambda: world.acked.append("too early"))
    await world.stage.stop()
    assert (world.outbox.of(Topic.OUTCOMES), world.acked, await world.refused()) == ([], [], False)
    world.stage = world.new_stage()
    [ended] = await world.read(record)
    assert (ended.state, await world.refused()) == (StepState.CONFIRMED, True)


async def test_a_crash_while_the_freeze_is_stored_still_calls_people(world: World) -> None:
    for number in range(12):
        await world.run(command(key_id=f"key-{number}", mode="observe"))
    world.outbox.sent[Topic.INCIDENTS].clear()
    world.store.values.clear()
    world.stage.on_stats(STATS)
    for number in range(2):
        await world.run(command(key_id=f"key-{number}"))
    world.store.crash_after = 0
    with pytest.raises(ConnectionError):
        await world.run(command(key_id="key-3"))
    assert world.outbox.of(Topic.INCIDENTS)


class TestStrangers:
    async def test_keys_that_nobody_registered_use_up_no_cap_and_freeze_nothing(self, world: World) -> None:
        world.registered = {KEY, "key-1", "key-2"}
        world.stage.on_stats(STATS)
        invented = [f"invented-{number}" for number in range(30)]
        rules = [(await world.run(command(key_id=key)))[0].rule for key in invented]
        assert rules == ["unknown_key"] * 5 + ["per_10min"] * 25
        assert not world.stage.frozen()
        [outcome] = await world.run(command())
        assert outcome.state is StepState.CONFIRMED

    async def test_a_stranger_that_the_provider_knows_is_cut(self, world: World) -> None:
        world.registered = {KEY}
        [outcome] = await world.run(command(key_id="key-7"))
        assert (outcome.state, await world.refused("key-7")) == (StepState.CONFIRMED, True)

    async def test_a_registered_key_that_the_provider_does_not_know_is_for_a_person(self, world: World) -> None:
        world.registered = {"mistyped"}
        [outcome] = await world.run(command(key_id="mistyped"))
        assert outcome.state is StepState.IRREVOCABLE
        assert "does not know this key" in outcome.detail

    async def test_while_nothing_is_registered_the_keys_that_are_seen_count(self, world: World) -> None:
        world.registered = set()
        world.stage.on_stats(STATS.model_copy(update={"known_keys": 500, "active_keys": 500}))
        states = [(await world.run(command(key_id=f"key-{number}")))[0].state for number in range(12)]
        assert states.count(StepState.CONFIRMED) == 10
