"""An exception on its way: asked for at a terminal, approved by somebody else, at the gate and in the score at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from schemas.config import BudgetsConfig, PoliciesConfig
from schemas.config.people import PersonConfig
from schemas.config.wiring import GateConfig
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus
from service import exception_commands as commands
from service.config_tree import Folder
from service.errors import UserError
from service.exception_commands import Scope, What
from service.gate_service import GateService
from service.install import Install
from storage.history import exceptions as stored
from streams.newest_records import read_newest
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import ENVIRON, running, until

PEOPLE = {"ann": PersonConfig(role="responder"), "bob": PersonConfig(role="approver")}
POLICIES = {"policies": [{"name": "cheap", "allowed_models": ["*-mini"]}]}
K1 = Scope(("k1",), (), (), ())
GPT5 = What("models", "", ("gpt-5",), None, 5.0)


BUDGETS = {"budgets": [{"name": "all", "usd": 100, "period": "month"}]}
MORE_MONEY = What("budget_usd", "all", (), 500.0, 10.0)


def with_policies(folder: Folder) -> Folder:
    policies, budgets = PoliciesConfig.model_validate(POLICIES), BudgetsConfig.model_validate(BUDGETS)
    return replace(folder, policies=policies, budgets=budgets)


def config_folder(config: Path, install: Install) -> Path:
    config.mkdir()
    kafka = install.folder.wiring.kafka
    wiring = {"kafka": {"bootstrap": kafka.bootstrap, "topic_prefix": kafka.topic_prefix}, "data_dir": str(config)}
    people = {"people": {name: person.model_dump() for name, person in PEOPLE.items()}}
    for name, content in (
        ("keyfuse", wiring),
        ("policies", POLICIES),
        ("people", people),
        ("budgets", BUDGETS),
    ):
        (config / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (config / "keys.yaml").write_text("keys: [{key_id: k1, provider: sandbox}]\n")
    return config


async def said(command: Callable[..., None], *given: Any, **named: Any) -> str:
    out = Console(record=True, width=300)
    await asyncio.to_thread(command, *given, **named, out=out)
    return out.export_text()


async def test_a_second_person_lifts_a_rule_and_it_holds_again_when_the_exception_ends(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(
        tansu_broker, prefix, tmp_path, roles=("score", "budget", "identity", "archive"), keys=["k1"], people=PEOPLE,
        change=with_policies,
    ) as world:  # fmt: skip
        install = world.worker.install
        config = config_folder(tmp_path / "keyfuse.d", install)
        wiring = install.folder.wiring.model_copy(
            update={"gate": GateConfig(port=0, replica="a", token_env="GATE_TOKEN")}
        )
        gate_install = Install(replace(install.folder, wiring=wiring), tmp_path, {**ENVIRON, "GATE_TOKEN": "t" * 20})
        gate = GateService(gate_install, tansu_broker.bootstrap)
        await gate.start()
        try:
            headers = {"authorization": f"Bearer {'t' * 20}"}
            async with httpx.AsyncClient(headers=headers, trust_env=False) as http:

                async def state() -> str:
                    body = {"key_id": "k1", "model": "gpt-5", "max_output_tokens": 1}
                    answer = await http.post(f"{gate.url}/v1/authorize", json=body)
                    return str(answer.json()["state"])

                async def allowed() -> bool:
                    return await state() == "allow"

                async def refused() -> bool:
                    return await state() == "deny"

                assert await refused()
                words = {"span": ("", "2h"), "reason": "launch", "owner": "", "by": "ann"}
                told = await said(commands.ask, config, K1, GPT5, **words)
                name = told.removeprefix("asked for ").partition(":")[0]
                assert f"it holds once approved (bob): `keyfuse policy approve {name}`" in told
                await until(lambda: any_known(install), "the worker knows of it")
                assert await refused(), "nobody has approved it"

                with pytest.raises(UserError, match="ann asked for it: somebody else has to answer"):
                    await said(commands.answer, config, name, "approve", reason="", by="ann")
                await said(commands.answer, config, name, "approve", reason="agreed", by="bob")
                await until(allowed, "the gate lets it pass")
                await until(lambda: expected(world.worker.score), "the detectors expect it")
                assert expected(world.worker.score) == [(f"exception {name}", 5.0)]
                shown = await said(commands.shown, config, everything=False, as_json=False)
                assert f"{name}  active: models gpt-5 for key=k1 until" in shown
                assert "owner ann, asked for by ann, approved by bob" in shown

                await said(commands.end, config, name, reason="done", by="bob")
                await until(refused, "the rule holds again")
                await until(lambda: not expected(world.worker.score), "the detectors expect nothing any more")
                told = await said(commands.ask, config, Scope((), (), (), ()), MORE_MONEY, **words)
                money = told.removeprefix("asked for ").partition(":")[0]
                await until(lambda: money in {one.exception_id for one in install.exceptions}, "it is known")
                await said(commands.answer, config, money, "approve", reason="", by="bob")

                async def limit_usd() -> float:
                    topic = install.topics.name(Topic.BUDGETS)
                    [stands] = (await read_newest(tansu_broker.bootstrap, topic, 1, BudgetStatus)).values()
                    return (stands.limit_nano_usd or 0) / 1e9

                async def raised() -> bool:
                    return await limit_usd() == 500

                await until(raised, "the budget stands higher")
                covering = gate.decider.planes.budgets.covering("k1", KeyFacts(provider="sandbox"))
                assert [one.usd for one in covering] == [500]
        finally:
            await gate.stop()
        store = world.worker.store
        assert store is not None

        async def archived() -> bool:
            return sorted(one.state for one in await asyncio.to_thread(stored, store())) == ["active", "ended"]

        await until(archived, "its end is archived")
        rows = await world.rows(
            "SELECT state, approved_by, rule FROM policy_exceptions FINAL WHERE rule = 'models' ORDER BY seq"
        )
        assert rows == [("asked", "", "models"), ("active", "bob", "models"), ("ended", "bob", "models")]


def any_known(install: Install) -> bool:
    return bool(install.exceptions)


def expected(stage: Any) -> list[tuple[str, float]]:
    return [(window.what, window.times) for window in stage._expected]
