"""A protected key's successor is as protected: a real worker finds its theft, and leaves the cut to a person."""

from __future__ import annotations

from pathlib import Path

from schemas.records import Command
from service.install import wall_ms
from tests.brokers import Broker
from tests.integration.uses import uses
from tests.integration.world import World, running, until

OLD, NEW, OTHER = "key_old", "key_new", "key_other"


async def test_what_took_over_from_a_protected_key_is_not_cut_without_a_person(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    roles = ("ingest", "score", "decide", "contain")
    async with running(
        tansu_broker, prefix, tmp_path, roles=roles, keys=[OLD, NEW, OTHER], protected_keys=(OLD,)
    ) as world:
        took_over(world)
        for key_id in (NEW, OTHER):
            await world.produce(*uses(key_id, wall_ms() - 2000, count=4, every_ms=10, cost_usd=2.0), key=key_id)
        await until(lambda: world.ended(OTHER, "confirmed"), "a key that nobody protects is cut")
        await until(lambda: world.told(Command, NEW), "a step is proposed")
        assert {command.automatic for command in world.told(Command, NEW)} == {False}
        assert (world.sandbox.admit(NEW), world.sandbox.admit(OTHER)) == (200, 401)


def took_over(world: World) -> None:
    """As the worker learns it from `keyfuse.keys`."""
    registry = world.worker.install.registry
    entry = registry.entry(NEW)
    assert entry is not None
    assert registry.take(entry.model_copy(update={"seq": 1, "formerly": (OLD,), "replaces": OLD}))
