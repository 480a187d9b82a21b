"""A gate on a real broker: what it was told holds before its first answer, a verdict reaches every replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from containment.providers.base import Effect
from containment.providers.gate import GateProvider
from controls.registry import Registry
from gate.kept import Place
from gate.known import Known
from gate.memory import packed
from schemas.config import KeysConfig, WiringConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import GateConfig, KafkaConfig
from schemas.records import Record
from schemas.verdict import GateState, GateVerdict
from service.config_tree import Folder
from service.gate_port import BrokerPort
from service.gate_service import GateService
from service.install import Install, wall_ms
from streams.follow import follow
from streams.gates_heard import GatesHeard
from streams.kafka import create_topics
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import until

KEYS = KeysConfig(keys=tuple(KeyConfig(key_id=f"k{n}", provider="openai", team="search") for n in range(3)))
TOKEN = "token-of-the-gateways"


def install_of(broker: Broker, prefix: str, tmp_path: Path, *, replica: str) -> Install:
    kafka = KafkaConfig(bootstrap=broker.bootstrap, partitions=2, topic_prefix=prefix, fetch_wait_ms=20)
    gate = GateConfig(port=0, replica=replica, token_env="GATE_TOKEN")
    folder = Folder(keys=KEYS, wiring=WiringConfig(kafka=kafka, gate=gate, data_dir=str(tmp_path)))
    return Install(folder, tmp_path, environ={"KEYFUSE_PEPPER": "pepper of the tests", "GATE_TOKEN": TOKEN})


class Gates:
    """Some replicas, a way to ask each, and a way to tell them all."""

    def __init__(self, replicas: Sequence[GateService], http: httpx.AsyncClient, outbox: Outbox) -> None:
        self.replicas, self._http, self._outbox = replicas, http, outbox

    async def ask(self, replica: GateService, key_id: str) -> dict[str, Any]:
        answer = await self._http.post(f"{replica.url}/v1/authorize", json={"key_id": key_id, "model": "gpt-4o"})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def tell(self, topic: Topic, key: str, record: Record) -> dict[int, int]:
        return await self._outbox.send(topic, [(key, record)])


def verdict(key_id: str, state: GateState) -> GateVerdict:
    return GateVerdict(key_id=key_id, state=state, reason="stopped", incident_id="inc_1", at_ms=1)


@asynccontextmanager
async def running(
    broker: Broker, prefix: str, tmp_path: Path, *names: str, before: Sequence[GateVerdict] = ()
) -> AsyncIterator[Gates]:
    installs = [install_of(broker, prefix, tmp_path, replica=name) for name in names]
    await create_topics(broker.bootstrap, installs[0].topics.specs())
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all"))
        http = await stack.enter_async_context(
            httpx.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False)
        )
        outbox = Outbox(sender, installs[0].topics)
        await outbox.send(Topic.VERDICTS, [(each.key_id, each) for each in before])
        gates = [GateService(install, broker.bootstrap) for install in installs]
        for gate in gates:
            await gate.start()
            stack.push_async_callback(gate.stop)
        yield Gates(gates, http, outbox)


async def test_what_was_said_before_the_start_holds_at_the_first_answer(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(broker, prefix, tmp_path, "a", before=[verdict("k1", "deny"), verdict("k2", "allow")]) as gates:
        [gate] = gates.replicas
        assert [(await gates.ask(gate, f"k{n}"))["state"] for n in range(3)] == ["allow", "deny", "allow"]


async def test_a_verdict_and_an_issued_key_reach_every_replica_and_each_reports(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(broker, prefix, tmp_path, "a", "b") as gates:
        [(partition, offset)] = (await gates.tell(Topic.VERDICTS, "k0", verdict("k0", "deny"))).items()
        issued = KEYS.keys[0].record().model_copy(update={"key_id": "v1", "kind": "virtual", "state": "pending"})
        await gates.tell(Topic.KEYS, "v1", issued)

        async def all_deny(key_id: str) -> bool:
            return all([(await gates.ask(gate, key_id))["state"] == "deny" for gate in gates.replicas])

        await until(lambda: all_deny("k0"), "every replica denies")
        await until(lambda: all_deny("v1"), "every replica knows the new key")
        for gate in gates.replicas:
            assert gate.feed.applied(Topic.VERDICTS)[partition] == offset


async def test_what_a_gate_kept_gives_way_to_what_its_broker_knows(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    before = [verdict("k0", "deny"), verdict("k1", "deny"), verdict("k1", "allow")]
    async with running(tansu_broker, prefix, tmp_path, "a", before=before) as gates:
        [gate] = gates.replicas
    remembered = gate.memory.read()
    assert remembered is not None
    assert {said.verdict.key_id: said.verdict.state for said in remembered.verdicts} == {"k0": "deny", "k1": "allow"}
    known = Known(Registry(KeysConfig()))
    known.recalled(said._replace(place=Place(said.place.partition, 999)) for said in remembered.verdicts if said.place)
    gate.memory.write(packed(known, (), 1))  # as of a broker that lost everything since

    async with running(tansu_broker, prefix, tmp_path, "a", before=[verdict("k0", "allow")]) as gates:
        [gate] = gates.replicas
        assert [(await gates.ask(gate, f"k{n}"))["state"] for n in range(2)] == ["allow", "allow"]


async def test_a_record_that_cannot_be_read_and_a_tombstone_change_nothing(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(tansu_broker, prefix, tmp_path, "a", before=[verdict("k0", "deny")]) as gates:
        [gate] = gates.replicas
        topics = gate.install.topics
        partition = next(iter(await gates.tell(Topic.VERDICTS, "k0", verdict("k0", "deny"))))
        async with AIOKafkaProducer(bootstrap_servers=tansu_broker.bootstrap, acks="all") as sender:
            for value in (b"not a verdict", None):
                name = topics.name(Topic.VERDICTS)
                done = await sender.send_and_wait(name, value, key=b"k0", partition=partition)
        await until(lambda: gate.feed.applied(Topic.VERDICTS)[partition] == done.offset + 1, "it is read")
        assert (await gates.ask(gate, "k0"))["state"] == "deny"
        assert b'keyfuse_gate_unread_total{topic="keyfuse.verdicts"} 1.0' in gate.metrics.render()


async def test_the_provider_of_keyfuses_own_keys_blocks_one_at_every_gate_and_lets_it_go_again(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    key_id = "fp1:" + "0a" * 16
    issued = KEYS.keys[0].record().model_copy(update={"key_id": key_id, "kind": "virtual"})
    heard = GatesHeard(now_ms=wall_ms, tick_s=time.monotonic)
    async with running(broker, prefix, tmp_path, "a", "b") as gates:
        topics = gates.replicas[0].install.topics
        port = BrokerPort(gates._outbox, heard, registry=lambda: Registry(KeysConfig(), [issued]), now_ms=wall_ms)
        ended = asyncio.Event()
        followed = [
            asyncio.create_task(follow(
                broker.bootstrap, topics.name(topic), topics.count(topic), take=take, changed=heard.caught_up,
                stopping=ended.is_set, fetch_wait_ms=20,
            ))
            for topic, take in ((Topic.GATES, heard.take), (Topic.VERDICTS, port.take))
        ]  # fmt: skip
        await until(lambda: heard.members() == {"a": True, "b": True}, "both gates report")
        provider = GateProvider("keyfuse", port)
        before = await provider.snapshot(key_id)

        async def seen(wanted: str) -> bool:
            return (await provider.in_effect("block", key_id)).state == wanted

        await provider.apply("block", key_id)
        await until(lambda: seen("yes"), "it is read back")
        probed = await provider.probe("block", key_id)
        assert probed == Effect("yes", "the verdict deny is in force at 2 of 2 gates")
        assert [(await gates.ask(gate, key_id))["state"] for gate in gates.replicas] == ["deny", "deny"]

        await provider.undo("block", key_id, before)
        await until(lambda: seen("no"), "it is read back")
        probed = await provider.probe("block", key_id)
        assert probed
        assert probed.state == "no"
        assert [(await gates.ask(gate, key_id))["state"] for gate in gates.replicas] == ["allow", "allow"]
        ended.set()
        await asyncio.gather(*followed)
