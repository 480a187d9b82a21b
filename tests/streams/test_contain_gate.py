"""Who can write to the topic of the commands cannot act: signed orders only, each once, and none from yesterday."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from containment.orders import sign
from schemas.records import AuditRow, Incident, Request, StepState
from schemas.signing import Signer, private_key_from
from streams.contain_gate import Trust
from streams.errors import Overtaken
from streams.topics import Topic
from tests.streams.test_contain import World, command
from tests.streams.world import SIGNER, T0

STRANGER = Signer(private_key_from(b"s" * 32))
HOUR_MS = 3_600_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "FREEZE")


def pages(world: World) -> list[Incident]:
    return [each for each in world.outbox.of(Topic.INCIDENTS) if isinstance(each, Incident)]


def rows(world: World) -> list[AuditRow]:
    return [each for each in world.outbox.of(Topic.AUDIT) if isinstance(each, AuditRow)]


def word(action: str, number: int = 1, *, at_ms: int = T0) -> Request:
    return Request(request_id=f"{action}-{number}", at_ms=at_ms, by="ana", action=action, reason="odd")


FORGED = {
    "unsigned": command(by="ana").to_bytes(),
    "unknown_signer": sign(command(by="ana"), STRANGER, now_ms=T0).to_bytes(),
    "bad_signature": sign(command(by="ana"), SIGNER, now_ms=T0).model_copy(update={"step": "revoke"}).to_bytes(),
    "unreadable": b'{"type":"command","and then": nothing',
}


@pytest.mark.parametrize("rule", FORGED)
async def test_a_forged_order_does_nothing_is_written_down_and_calls_people(world: World, rule: str) -> None:
    outcomes = await world.read(FORGED[rule])
    assert not await world.refused()
    assert not world.provider.calls[:-1]  # the last call is this test's own probe
    assert [(each.state, each.rule) for each in outcomes] == (
        [] if rule == "unreadable" else [(StepState.REFUSED, rule)]
    )  # fmt: skip
    [row] = rows(world)
    assert (row.result, row.detail["rule"]) == ("refused", rule)
    [page] = pages(world)
    assert (page.severity, page.key_id) == ("critical", "keyfuse")
    assert "nothing was done" in page.headline
    assert f'keyfuse_orders_doubted_total{{rule="{rule}"}} 1.0' in world.metrics.render().decode()
    assert len(world.acked) == 1


async def test_a_flood_of_forged_orders_calls_people_once_in_ten_minutes_also_over_a_restart(world: World) -> None:
    for number in range(50):
        await world.read(command(at_s=number).to_bytes())
        world.now_ms += 10_000
        if number % 10 == 0:
            world.stage = world.new_stage()
    assert len(rows(world)) == 50
    assert len(pages(world)) == 1  # 500 s
    world.now_ms += 100_000
    await world.read(command(at_s=99).to_bytes())
    assert len(pages(world)) == 2


async def test_a_forged_order_is_not_the_last_word_on_the_real_one(world: World) -> None:
    await world.read(command().to_bytes())
    [outcome] = await world.run(command())
    assert (outcome.state, await world.refused()) == (StepState.CONFIRMED, True)


async def test_claims_of_a_forger_are_cut_short_and_hold_no_secret(world: World) -> None:
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    forged = command(key_id=f"{secret} " + "x" * 100_000).model_copy(update={"by": secret})
    await world.read(forged.to_bytes())
    [row] = rows(world)
    assert secret not in row.to_bytes().decode()
    assert len(row.to_bytes()) < 2_000


class TestOldRecords:
    async def test_an_order_that_waited_too_long_is_refused_and_whoever_waits_for_it_is_told(
        self, world: World
    ) -> None:
        record = sign(command(), SIGNER, now_ms=T0).to_bytes()
        world.now_ms += HOUR_MS + 1000
        [outcome] = await world.read(record)
        assert (outcome.state, outcome.rule, await world.refused()) == (StepState.REFUSED, "expired", False)
        assert "order it again" in outcome.detail
        assert not pages(world)  # an outage of ours is no forgery

    async def test_how_long_is_a_setting(self, world: World) -> None:
        world.stage = world.new_stage(Trust(frozenset({SIGNER.public_key}), max_age_s=86_400))
        record = sign(command(), SIGNER, now_ms=T0).to_bytes()
        world.now_ms += 12 * HOUR_MS
        [outcome] = await world.read(record)
        assert outcome.state is StepState.CONFIRMED

    async def test_an_order_that_has_begun_goes_on_to_its_end_however_old_it_is(self, world: World) -> None:
        record = sign(command(), SIGNER, now_ms=T0).to_bytes()
        world.store.crash_after = 3  # the ledger, that gates are told and the pre-state are stored, the outcome is not
        await world.read(record)
        assert await world.refused()
        world.store.crash_after, world.stage = None, world.new_stage()
        world.now_ms += 30 * HOUR_MS
        [outcome] = await world.read(record)
        assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 0)

    @pytest.mark.parametrize("state", [StepState.REFUSED, StepState.DRY_RUN, StepState.AWAITING_APPROVAL])
    async def test_a_copy_of_an_order_that_did_nothing_does_nothing_later(self, world: World, state: StepState) -> None:
        world.freeze_file.write_text("x")
        mode = {StepState.DRY_RUN: "observe", StepState.AWAITING_APPROVAL: "approve"}.get(state, "auto")
        record = sign(command(mode=mode), SIGNER, now_ms=T0).to_bytes()
        assert [each.state for each in await world.read(record)] == [state]
        world.freeze_file.unlink()
        assert [each.state for each in await world.read(record)] == [state]
        assert not await world.refused()

    async def test_a_copy_of_an_old_cut_does_not_cut_a_key_that_was_given_back(self, world: World) -> None:
        record = sign(command(by="ana"), SIGNER, now_ms=T0).to_bytes()
        await world.read(record)
        await world.run(command("restore", at_s=5, by="ana"))
        await world.read(record)
        assert not await world.refused()


class TestFreeze:
    async def test_a_copy_of_an_old_unfreeze_lifts_no_later_freeze(self, world: World) -> None:
        lift = sign(word("unfreeze"), SIGNER, now_ms=T0).to_bytes()
        await world.run(word("freeze", 1))
        await world.read(lift)
        await world.run(word("freeze", 2))
        await world.read(lift)
        assert world.stage.frozen()
        assert [row.action for row in rows(world)] == ["freeze", "unfreeze", "freeze"]

    async def test_a_freeze_does_not_grow_old_and_an_unfreeze_that_does_is_told(self, world: World) -> None:
        freeze, lift = (sign(word(action), SIGNER, now_ms=T0).to_bytes() for action in ("freeze", "unfreeze"))
        world.now_ms += 2 * HOUR_MS
        await world.read(freeze)
        assert world.stage.frozen()
        await world.read(lift)
        assert world.stage.frozen()
        [page] = pages(world)
        assert "ana asked to unfreeze, and it came too late" in page.headline

    async def test_an_unfreeze_that_waited_for_decide_is_old_however_fresh_its_signature(self, world: World) -> None:
        """It was signed when decide came back: whoever said it did not know of a freeze since."""
        world.now_ms += 2 * HOUR_MS
        await world.run(word("freeze"))
        await world.run(word("unfreeze"))
        assert world.stage.frozen()
        assert "ana asked to unfreeze, and it came too late" in pages(world)[-1].headline
        await world.run(word("unfreeze", 2, at_ms=world.now_ms))
        assert not world.stage.frozen()

    async def test_an_unsigned_unfreeze_lifts_nothing(self, world: World) -> None:
        await world.run(word("freeze"))
        await world.read(word("unfreeze").to_bytes())
        assert world.stage.frozen()


async def test_a_stage_that_lost_its_commands_leaves_them_to_the_next_owner(world: World) -> None:
    world.provider.lag = 10_000  # it would look for a minute
    record = sign(command(), SIGNER, now_ms=T0).to_bytes()
    await world.stage.on_record(record, done=lambda: world.acked.append("old"))
    world.stage.forget()
    await world.stage.drain()
    world.provider.lag = 0
    [outcome] = await world.read(record)
    assert outcome.state is StepState.CONFIRMED
    assert "old" not in world.acked


async def test_a_verdict_that_waited_while_the_commands_went_to_another_owner_is_not_stored(world: World) -> None:
    """Its state is not loaded here any more: an empty ledger would lift every cap and freeze."""
    await world.run(word("freeze"))
    before = dict(world.store.values)
    world.store.slow = True
    freezing = asyncio.create_task(world.read(sign(word("freeze", 2), SIGNER, now_ms=T0).to_bytes()))
    await asyncio.sleep(0)  # it is being stored
    judging = asyncio.create_task(world.read(sign(command(), SIGNER, now_ms=T0).to_bytes()))
    await asyncio.sleep(0)  # it waits for its turn
    world.stage.forget()
    world.store.values.clear()
    with pytest.raises(Overtaken):
        await judging
    await freezing
    assert world.store.values.get(b"ledger") in (None, before[b"ledger"])
    assert not await world.refused()


async def test_a_command_that_could_not_be_written_down_stops_the_stage_so_that_it_comes_again(world: World) -> None:
    await world.stage.tick()
    world.store.crash_after = 1
    await world.read(sign(command(), SIGNER, now_ms=T0).to_bytes())
    assert not world.acked
    with pytest.raises(ConnectionError):
        await world.stage.tick()
    world.store.crash_after = None
    world.stage.forget()
    await world.stage.tick()
    [outcome] = await world.run(command())
    assert outcome.state is StepState.CONFIRMED
