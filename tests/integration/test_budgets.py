"""A budget from the first dollar to its stop: told once for each thing, cheaper models at the gate, refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from schemas.config import BudgetsConfig, DetectorsConfig
from schemas.config.budgets import BudgetConfig, DegradeConfig
from schemas.config.detectors import LimitsConfig
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.config.wiring import GateConfig
from schemas.records import Command, Incident
from service.budgets_command import read, saved_by
from service.config_tree import Folder
from service.gate_service import GateService
from service.install import wall_ms
from tests.brokers import Broker
from tests.integration.uses import uses
from tests.integration.world import OWNED, World, running, until

KEY, BUDGET = "key_of_search", "search in production"
ROLES = ("ingest", "budget", "decide", "notify", "contain")
DEGRADE = DegradeConfig(models={"gpt-4.1": "gpt-4.1-mini"}, apps=("ranker",), approved_by="bob")


def with_budget(folder: Folder) -> Folder:
    budget = BudgetConfig(
        name=BUDGET, teams=("search",), envs=("prod",), usd=100, period="rolling_24h", hard_stop=True, owner="ann",
        degrade=DEGRADE,
    )  # fmt: skip
    owned = KeyConfig(key_id=KEY, provider="openai", **OWNED)
    wiring = folder.wiring.model_copy(update={"gate": GateConfig(port=0, replica="g1")})
    return replace(
        folder, keys=KeysConfig(keys=(owned,)), budgets=BudgetsConfig(budgets=(budget,)), wiring=wiring,
        detectors=DetectorsConfig(limits=LimitsConfig()),
    )  # fmt: skip


@asynccontextmanager
async def gate_of(world: World) -> AsyncIterator[httpx.AsyncClient]:
    install = world.worker.install
    gate = GateService(install, install.folder.wiring.kafka.bootstrap)
    await gate.start()
    try:
        async with httpx.AsyncClient(base_url=gate.url, trust_env=False) as client:
            yield client
    finally:
        await gate.stop()


async def test_a_budget_is_told_of_makes_calls_cheaper_and_stops_them(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with (
        running(tansu_broker, prefix, tmp_path, roles=ROLES, change=with_budget) as world,
        gate_of(world) as gate,
    ):

        async def spend(usd: float) -> None:
            await world.produce(*uses(KEY, wall_ms() - 2000, count=4, every_ms=10, cost_usd=usd / 4), key=KEY)

        async def asked() -> dict[str, Any]:
            call = {"key_id": KEY, "model": "gpt-4.1", "input_tokens": 1000, "max_output_tokens": 100}
            found: dict[str, Any] = (await gate.post("/v1/authorize", json=call)).json()
            return found

        async def answers(state: str) -> bool:
            return bool((await asked())["state"] == state)

        def incident() -> Incident | None:
            return world.incident(f"budget:{BUDGET}")

        await spend(40)
        await until(lambda: answers("allow"), "there is room")
        await spend(45)
        await until(lambda: answers("degrade"), "the budget is tight")
        moved = await asked()
        assert (moved["model"], moved["rule"]) == ("gpt-4.1-mini", f"budget {BUDGET}")
        used = {"reservation": moved["reservation"], "input_tokens": 1000, "output_tokens": 100}
        assert (await gate.post("/v1/settle", json=used)).json()["state"] == "settled"
        await spend(30)
        await until(lambda: answers("deny"), "the budget is used up")
        refused = await asked()
        assert BUDGET in refused["reason"]

        await until(lambda: (one := incident()) and one.budget and one.budget.used_up, "people are told")
        one = incident()
        assert one is not None
        assert one.budget is not None
        assert (one.budget.spent, one.budget.used_up, one.facts.provider) == (115.0, True, "")
        await until(lambda: world.board.slack_shows(one.incident_id) >= one.seq, "Slack shows it")
        assert world.told(Command, one.key_id) == []
        transitions = [version.transition for version in world.told(Incident, one.key_id)]
        assert len(transitions) == len(set(transitions)), "each thing is told once"

        install = world.worker.install
        statuses, _ = await asyncio.to_thread(read, install)
        assert (statuses[BUDGET].level, statuses[BUDGET].spent_nano_usd) == ("stopped", 115 * 10**9)

        async def told() -> bool:
            _, sums = await asyncio.to_thread(read, install)
            return saved_by(BUDGET, statuses[BUDGET], sums).settled == 1

        await until(told, "what was saved is told")
