"""What is certain leaves a running worker while its second is still open, and is acted on."""

from __future__ import annotations

from pathlib import Path

from schemas.records import Finding
from tests.brokers import Broker
from tests.integration.uses import T0_MS, use
from tests.integration.world import LIMIT_USD_PER_MIN, World, running, until

KEY = "key_over_its_limit"


def certain(world: World) -> list[Finding]:
    return [finding for finding in world.told(Finding, KEY) if finding.certain]


async def test_a_key_over_its_limit_is_cut_before_the_second_is_over(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """No clock closes the second here: no later event comes, and silence counts only after an hour."""
    spent = [use(f"e{n}", KEY, T0_MS + n, cost_usd=LIMIT_USD_PER_MIN * 0.4) for n in range(4)]
    async with running(tansu_broker, prefix, tmp_path, idle_s=3600, keys=(KEY,)) as world:
        await world.produce(*spent, key=KEY)
        await until(lambda: world.ended(KEY, "confirmed"), "the key is cut")
        [finding] = certain(world)
        assert finding.evidence["observed"] == LIMIT_USD_PER_MIN * 1.2, "the third of the four passes the limit"
        assert world.windows(KEY)[1] == T0_MS // 1000

        await world.produce(use("later", KEY, T0_MS + 5000), key=KEY)
        await until(lambda: world.windows(KEY)[1] == T0_MS // 1000 + 5, "the second is closed")
        assert certain(world) == [finding]
