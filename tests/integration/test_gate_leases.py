"""Gates that share a budget, on a real broker; and a gate whose broker goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from gate.memory import packed
from schemas.config import KeysConfig, WiringConfig
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import GateConfig, KafkaConfig, StoreConfig
from schemas.verdict import GateVerdict
from service.config_tree import Folder
from service.gate_service import GateService
from service.install import Install
from service.tansu import Tansu, free_port
from service.worker import Worker
from streams.kafka import create_topics
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import until

KEYS = KeysConfig(
    keys=tuple(
        KeyConfig(key_id=f"of-{env}", provider="openai", team="search", app="shop", env=env) for env in ("prod", "dev")
    )
)
SHARED = BudgetConfig(name="search", usd=1.0, tokens=20_000, period="month", hard_stop=True, teams=("search",))


def install_of(bootstrap: str, prefix: str, tmp_path: Path, *, replica: str = "a", **gate: Any) -> Install:
    kafka = KafkaConfig(bootstrap=bootstrap, partitions=1, topic_prefix=prefix, fetch_wait_ms=20)
    wiring = WiringConfig(
        kafka=kafka, gate=GateConfig(port=0, replica=replica, unpriced_otherwise=0, **gate), data_dir=str(tmp_path)
    )
    folder = Folder(keys=KEYS, wiring=wiring, budgets=BudgetsConfig(budgets=(SHARED,)))
    return Install(folder, tmp_path, environ={"KEYFUSE_PEPPER": "pepper of the tests"})


async def ask(gate: GateService, key_id: str, tokens: int = 900) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"key_id": key_id, "model": "of no price", "input_tokens": tokens, "max_output_tokens": 100}
        answer = await http.post(f"{gate.url}/v1/authorize", json=body)
        found: dict[str, Any] = answer.json()
        return found


@asynccontextmanager
async def outbox_on(install: Install, bootstrap: str) -> AsyncIterator[Outbox]:
    await create_topics(bootstrap, install.topics.specs())
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as sender:
        yield Outbox(sender, install.topics)


async def test_two_gates_share_a_budget_to_its_end_and_not_beyond(broker: Broker, prefix: str, tmp_path: Path) -> None:
    installs = [install_of(broker.bootstrap, prefix, tmp_path, replica=name, lease_s=3) for name in "ab"]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(outbox_on(installs[0], broker.bootstrap))
        worker = Worker(installs[0], broker.bootstrap, ("budget",))
        await worker.start()
        stack.push_async_callback(worker.stop)
        gates = [GateService(install, broker.bootstrap) for install in installs]
        for gate in gates:
            await gate.start()
            stack.push_async_callback(gate.stop)
        through = {gate.replica: 0 for gate in gates}

        async def both_are_stopped() -> bool:
            states = []
            for gate in gates:
                answer = await ask(gate, "of-prod")
                through[gate.replica] += answer["state"] == "allow"
                states.append(answer["state"])
            return states == ["deny", "deny"]

        await until(both_are_stopped, "both gates refuse for good", patience_s=60)
        assert sum(through.values()) == 20, "of 1,000 tokens each"
        assert min(through.values()) > 2, "each had its slices"
        refusal = await ask(gates[0], "of-prod")
        assert refusal["rule"] == "budget search"
        assert refusal["reason"].endswith("has 0 tokens left of 20,000: ask its owner")
        assert refusal["retry_after_s"] > 0, "until the month is over"


@pytest.fixture
async def own_tansu(tmp_path: Path) -> AsyncIterator[Tansu]:
    """One that may be stopped and gone on with."""
    tansu = Tansu(log_path=tmp_path / "tansu.log")
    await tansu.start()
    yield tansu
    await tansu.stop()


async def test_without_the_broker_each_environment_does_what_it_said_and_a_deny_stays(
    own_tansu: Tansu, prefix: str, tmp_path: Path
) -> None:
    install = install_of(own_tansu.bootstrap, prefix, tmp_path, stale_after_s=1.5, lease_s=2)
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(outbox_on(install, own_tansu.bootstrap))
        await outbox.send(Topic.VERDICTS, [("stolen", denied("stolen"))])
        gate = GateService(install, own_tansu.bootstrap)
        await gate.start()
        stack.push_async_callback(gate.stop)
        await until(lambda: not gate.reach.away, "its own report came back")
        with paused(own_tansu):
            await until(lambda: gate.reach.away, "the gate notices", patience_s=20)
            closed, opened, stolen = [await ask(gate, key_id) for key_id in ("of-dev", "of-prod", "stolen")]
            assert (closed["state"], closed["rule"]) == ("deny", "gate.fail: dev")
            assert opened["state"] == "allow", "though no slice of the budget can be had"
            assert opened["news_age_s"] >= 1.5, "as old as what counts as stale, said to a tenth of a second"
            assert stolen["state"] == "deny"
            async with httpx.AsyncClient(trust_env=False) as http:
                health, ready = [await http.get(f"{gate.url}/{path}") for path in ("healthz", "readyz")]
            assert (health.status_code, health.json()["broker"], ready.status_code) == (200, "away", 200)

            again = GateService(install, own_tansu.bootstrap, patience_s=0.1)
            gate.memory.write(packed(gate.known, (), 1))
            await again.start()
            stack.push_async_callback(again.stop)
            assert (await ask(again, "stolen"))["state"] == "deny", "it kept that on its disk"
            assert (await ask(again, "of-prod"))["state"] == "allow"
        await until(lambda: not gate.reach.away, "the gate hears again", patience_s=30)
        assert (await ask(gate, "stolen"))["state"] == "deny"
        assert "news_age_s" not in await ask(gate, "stolen")


async def test_a_broker_that_is_stopped_and_started_again_is_gone_on_with(
    kafka_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """Apache Kafka itself, under a gate whose store is not there at all."""
    node = kafka_broker.node
    assert node is not None
    install = install_of(kafka_broker.bootstrap, prefix, tmp_path, stale_after_s=3, lease_s=2)
    nowhere = StoreConfig(dsn=f"clickhouse://keyfuse@127.0.0.1:{free_port()}/keyfuse")
    wiring = install.folder.wiring.model_copy(update={"store": nowhere})
    install = Install(replace(install.folder, wiring=wiring), tmp_path, environ=install.environ)
    async with AsyncExitStack() as stack:
        outbox = await stack.enter_async_context(outbox_on(install, kafka_broker.bootstrap))
        await outbox.send(Topic.VERDICTS, [("stolen", denied("stolen"))])
        gate = GateService(install, kafka_broker.bootstrap)
        await gate.start()
        stack.push_async_callback(gate.stop)
        await until(lambda: not gate.reach.away, "its own report came back")
        await asyncio.to_thread(node.stop)
        try:
            await until(lambda: gate.reach.away, "the gate notices", patience_s=30)
            answers = [await ask(gate, key_id) for key_id in ("of-dev", "of-prod", "stolen")]
            assert [answer["state"] for answer in answers] == ["deny", "allow", "deny"]
        finally:
            await node.start()
        await until(lambda: not gate.reach.away, "the gate hears again", patience_s=60)
        await outbox.send(Topic.VERDICTS, [("of-prod", denied("of-prod"))])

        async def is_cut() -> bool:
            return str((await ask(gate, "of-prod"))["rule"]) == "verdict of incident inc_1"

        await until(is_cut, "verdicts reach it again", patience_s=30)
        assert (await ask(gate, "stolen"))["state"] == "deny"


def denied(key_id: str) -> GateVerdict:
    return GateVerdict(key_id=key_id, state="deny", reason="stopped", incident_id="inc_1", at_ms=1)


@contextmanager
def paused(tansu: Tansu) -> Iterator[None]:
    """It does not answer, and loses nothing."""
    process = tansu._process
    assert process is not None
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)
