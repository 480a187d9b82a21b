"""The decide stage: effects before state, and a crash in between repeats them with the same ids."""

from __future__ import annotations

import asyncio

import pytest

from containment.orders import believe
from controls.people import People
from schemas.config import BudgetsConfig, PeopleConfig, ResponsesConfig
from schemas.config.people import PersonConfig
from schemas.records import AuditRow, DeadLetter, DeadReason, Incident, Leak, PartitionStats, Request
from streams.decide import DecideStage
from streams.decide_core import Decider
from streams.errors import Overtaken
from streams.metrics import Metrics
from streams.topics import Topic
from tests.streams.world import KEY, SIGNER, T0, TRUST, MemoryOutbox, MemoryShards, decider, finding


def stage(store: MemoryShards, outbox: MemoryOutbox, mode: str = "auto") -> DecideStage:
    return DecideStage(
        decider=lambda: decider(mode), store=store, outbox=outbox, metrics=Metrics(), signer=SIGNER, now_ms=lambda: T0
    )


async def feed(decide: DecideStage, value: bytes, offset: int = 0) -> None:
    await decide.on_record("keyfuse.findings", 0, offset, value, now_ms=T0)


async def test_a_finding_becomes_an_incident_and_a_command() -> None:
    outbox = MemoryOutbox()
    await feed(stage(MemoryShards(), outbox), finding(0, family="policy").to_bytes())
    assert [type(r).__name__ for r in outbox.of(Topic.INCIDENTS)] == ["Incident", "Incident"]
    [command] = outbox.of(Topic.COMMANDS)
    assert believe(command.to_bytes(), public_keys=TRUST.public_keys) == command


@pytest.mark.parametrize("action", ["freeze", "unfreeze"])
async def test_a_freeze_is_handed_on_to_the_contain_stage_signed(action: str) -> None:
    outbox = MemoryOutbox()
    asked = Request(request_id="r1", at_ms=T0, by="ana", action=action, reason="drill", signature="f00", signed_by="me")
    decide = stage(MemoryShards(), outbox)
    await decide.on_record("keyfuse.requests", 0, 0, asked.to_bytes(), now_ms=T0)
    [order] = outbox.of(Topic.COMMANDS)
    assert isinstance(order, Request)
    assert believe(order.to_bytes(), public_keys=TRUST.public_keys) == order
    assert (order.request_id, order.by, order.action, order.signed_at_ms) == ("r1", "ana", action, T0)
    assert not outbox.of(Topic.INCIDENTS)


async def test_a_freeze_of_somebody_who_may_not_is_not_handed_on() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    people = People(PeopleConfig(people={"vic": PersonConfig(role="viewer")}))
    rules = Decider(ResponsesConfig(), BudgetsConfig(), lambda *_: {}, people)
    decide = DecideStage(
        decider=lambda: rules, store=store, outbox=outbox, metrics=Metrics(), signer=SIGNER, now_ms=lambda: T0
    )
    asked = Request(request_id="r1", at_ms=T0, by="vic", action="freeze", reason="drill")
    await decide.on_record("keyfuse.requests", 0, 0, asked.to_bytes(), now_ms=T0)
    assert outbox.of(Topic.COMMANDS) == []
    [row] = outbox.of(Topic.AUDIT)
    assert isinstance(row, AuditRow)
    assert (row.actor, row.action, row.result) == ("vic", "freeze", "refused")


async def test_a_crash_before_the_case_is_stored_repeats_the_same_effects() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    store.crash_after = 0
    with pytest.raises(ConnectionError):
        await feed(stage(store, outbox), finding(0, family="policy").to_bytes())
    store.crash_after = None
    await feed(stage(store, outbox), finding(0, family="policy").to_bytes())
    first, second = outbox.of(Topic.COMMANDS)
    assert first == second
    versions = [(i.incident_id, i.seq) for i in outbox.of(Topic.INCIDENTS) if isinstance(i, Incident)]
    assert versions[:2] == versions[2:]


async def test_a_record_that_waited_while_the_partition_went_to_another_owner_is_left_to_them() -> None:
    """The case is not loaded here any more: the key's incident would be opened anew, and the key cut again."""
    store, outbox = MemoryShards(), MemoryOutbox()
    decide = stage(store, outbox)
    store.slow = True
    first = asyncio.create_task(feed(decide, finding(0, family="policy").to_bytes()))
    await asyncio.sleep(0)  # its case is being stored
    second = asyncio.create_task(feed(decide, finding(60, family="budget").to_bytes(), 1))
    await asyncio.sleep(0)  # it waits for its turn
    decide.drop()
    await first
    store.values.clear()
    told = len(outbox.of(Topic.INCIDENTS))
    with pytest.raises(Overtaken):
        await second
    assert len(outbox.of(Topic.INCIDENTS)) == told
    assert len(outbox.of(Topic.COMMANDS)) == 1


async def test_a_case_is_not_stored_when_its_partition_went_to_another_owner_while_it_was_told() -> None:
    """They may know more of it by now, and the next one who reads it would go on from the older state."""
    store, outbox = MemoryShards(), MemoryOutbox()
    decide = stage(store, outbox)
    outbox.meanwhile[Topic.INCIDENTS] = decide.drop
    with pytest.raises(Overtaken):
        await feed(decide, finding(0, family="policy").to_bytes())
    assert store.values == {}


async def test_nonsense_is_buried_and_the_next_record_is_taken() -> None:
    outbox = MemoryOutbox()
    decide = stage(MemoryShards(), outbox)
    for offset, nonsense in enumerate([b"", b"{", b"[]", b'{"type":"finding"}', b'{"type":"spell"}', b"\xff\xfe"]):
        await feed(decide, nonsense, offset)
    await feed(decide, finding(0).to_bytes())
    dead = [r for r in outbox.of(Topic.DEAD) if isinstance(r, DeadLetter)]
    assert [(d.offset, d.reason) for d in dead] == [(n, DeadReason.BAD_RECORD) for n in range(6)]
    assert len(outbox.of(Topic.INCIDENTS)) == 1


async def test_event_time_ends_incidents_after_a_restart_too() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    await feed(stage(store, outbox), finding(0).to_bytes())
    restarted = stage(store, outbox)
    restarted.restored(0, store.values)
    restarted.on_stats(PartitionStats(partition=0, at_ms=T0, clock_s=T0 // 1000 + 7200, active_keys=1, known_keys=1))
    for _ in range(12):  # so long without a record that all findings have been read
        await restarted.tick()
    last = outbox.of(Topic.INCIDENTS)[-1]
    assert isinstance(last, Incident)
    assert (last.key_id, last.state) == (KEY, "resolved")


async def test_the_wall_clock_of_a_leak_report_ends_nobodys_incident() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    decide = stage(store, outbox)
    await feed(decide, finding(0).to_bytes(), 0)
    leak = Leak(source="paste", told_at_ms=T0 + 86_400_000)
    report = finding(86_400, key_id="fp1:another", family="leak").model_copy(update={"leak": leak})
    await feed(decide, report.to_bytes(), 1)
    for _ in range(12):
        await decide.tick()
    await feed(decide, report.model_copy(update={"key_id": KEY, "finding_id": "its own"}).to_bytes(), 2)
    told = [i for i in outbox.of(Topic.INCIDENTS) if isinstance(i, Incident)]
    assert {i.state for i in told} == {"open"}
    assert {i.key_id: i.families for i in told} == {KEY: ("velocity", "leak"), "fp1:another": ("leak",)}
