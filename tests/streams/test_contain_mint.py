"""Orders to make a credential at the contain stage: believed when signed, answered once, the same after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from containment.orders import sign
from containment.sealing import new_reader, unseal
from schemas.config import ResponsesConfig
from schemas.config.responses import RetryConfig
from schemas.minting import Minted, MintOrder
from schemas.records import AuditRow, Incident
from streams.contain import ContainDeps, ContainStage
from streams.contain_mint import Minting
from streams.metrics import Metrics
from streams.topics import Topic
from tests.containment.test_mint import FakeMinter
from tests.streams.world import SIGNER, T0, TRUST, MemoryOutbox, MemoryShards

PRIVATE, PUBLIC = new_reader()
ORDER = MintOrder(
    request_id="r1", key_id="ask:r1", at_ms=T0, by="bob", provider="openai", place="proj_1", name="keyfuse-r1",
    seal_to=PUBLIC,
)  # fmt: skip
SIGNED = sign(ORDER, SIGNER, now_ms=T0)


class World:
    def __init__(self, tmp_path: Path, minter: FakeMinter) -> None:
        self.store, self.outbox, self.minter, self.path = MemoryShards(), MemoryOutbox(), minter, tmp_path
        self.done = 0

    def stage(self, **changes: Any) -> ContainStage:
        async def sleep(_: float) -> None: ...

        minting = Minting(lambda _: self.minter, lambda secret: f"fp1:{secret}")
        retry = RetryConfig(attempts=2, wait_initial_s=1, wait_max_s=1)
        return ContainStage(
            ContainDeps(
                **{
                    "responses": lambda: ResponsesConfig(retry=retry), "providers": {}, "store": self.store,
                    "outbox": self.outbox, "metrics": Metrics(), "now_ms": lambda: T0, "sleep": sleep,
                    "freeze_file": self.path / "FREEZE", "registered": tuple, "trust": TRUST, "minting": minting,
                    **changes,
                }
            )
        )  # fmt: skip

    async def order(self, stage: ContainStage, order: MintOrder = SIGNED) -> None:
        def done() -> None:
            self.done += 1

        await stage.on_record(order.to_bytes(), done=done)
        await stage.drain()

    def told(self) -> list[Minted]:
        return [record for record in self.outbox.of(Topic.KEY_ASKS) if isinstance(record, Minted)]

    def secrets(self) -> set[str]:
        return {unseal(minted.sealed, PRIVATE, "r1").get_secret_value() for minted in self.told()}


async def test_an_order_is_answered_sealed_and_audited_without_the_secret(tmp_path: Path) -> None:
    world = World(tmp_path, FakeMinter())
    await world.order(world.stage())
    assert (world.secrets(), world.done) == ({"sk-secret-1"}, 1)
    [row] = world.outbox.of(Topic.AUDIT)
    assert isinstance(row, AuditRow)
    assert (row.actor, row.action, row.result, row.key_id) == ("bob", "mint", "made", "fp1:sk-secret-1")
    everything = [record.to_bytes() for records in world.outbox.sent.values() for record in records]
    everything += world.store.values.values()
    assert all(b"sk-secret-1" not in value.replace(b"fp1:sk-secret-1", b"") for value in everything)


async def test_the_same_order_again_is_answered_with_the_same(tmp_path: Path) -> None:
    world = World(tmp_path, FakeMinter())
    for _ in range(2):
        await world.order(world.stage())
    first, second = world.told()
    assert first == second
    assert world.minter.made == 1


@pytest.mark.parametrize("crash_after", [0, 1])
async def test_after_a_crash_one_credential_is_left_and_told(tmp_path: Path, crash_after: int) -> None:
    world = World(tmp_path, FakeMinter())
    world.store.crash_after = crash_after
    stage = world.stage()
    await world.order(stage)
    with pytest.raises(ConnectionError):
        await stage.tick()
    assert world.done == 0
    world.store.crash_after = None
    await world.order(world.stage())
    assert world.secrets() == set(world.minter.held)
    assert len(world.minter.held) == 1


@pytest.mark.parametrize(
    ("order", "rule"),
    [(ORDER, "unsigned"), (SIGNED.model_copy(update={"seal_to": "ab" * 32}), "bad_signature")],
)
async def test_an_order_that_nobody_may_give_makes_nothing(tmp_path: Path, order: MintOrder, rule: str) -> None:
    world = World(tmp_path, FakeMinter())
    await world.order(world.stage(), order)
    assert (world.told(), world.minter.made, world.done) == ([], 0, 1)
    [row] = world.outbox.of(Topic.AUDIT)
    assert isinstance(row, AuditRow)
    assert (row.action, row.result, row.detail["rule"]) == ("mint", "refused", rule)
    assert [type(page) for page in world.outbox.of(Topic.INCIDENTS)] == [Incident]


async def test_an_order_that_is_too_old_is_refused_and_whoever_asked_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, FakeMinter())
    await world.order(world.stage(now_ms=lambda: T0 + 3_700_000))
    [minted] = world.told()
    assert "more than commands.max_age_s" in minted.error
    assert world.minter.made == 0
