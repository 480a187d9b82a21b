"""Keys through a running worker: asked for over HTTP, known to gates at once, approved, kept through a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer

from containment.sealing import new_reader, unseal
from schemas.config.people import PersonConfig
from schemas.key_record import KeyRecord
from schemas.question import Answer
from schemas.records import Incident, Outcome, Request
from schemas.verdict import GateVerdict
from schemas.virtual_key import is_virtual_key
from service.install import Install, wall_ms
from service.worker import Worker
from streams.keys import follow_keys
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import World, running, until

ROLES = ("identity", "archive", "http", "decide", "contain")
WISH = {"by": "ann", "team": "search", "app": "ranker", "env": "dev", "purpose": "try new prompts"}
PEOPLE = {"ann": PersonConfig(role="viewer"), "bob": PersonConfig(role="approver")}


async def ask(world: World, request_id: str = "", **wish: Any) -> httpx.Response:
    token = world.worker.install.query_token().get_secret_value()
    headers = {"authorization": f"Bearer {token}"} | ({"idempotency-key": request_id} if request_id else {})
    return await world.http.post("/v1/keys", json={**WISH, **wish}, headers=headers)


async def say(world: World, answer: Answer) -> None:
    await Outbox(world.sender, world.worker.install.topics).send(Topic.KEY_ASKS, [(answer.question_id, answer)])


@asynccontextmanager
async def following(world: World) -> AsyncIterator[dict[str, KeyRecord]]:
    """A gate's view of the keys."""
    seen: dict[str, KeyRecord] = {}
    stop, topics = asyncio.Event(), world.worker.install.topics

    def take(record: KeyRecord) -> bool:
        seen[record.key_id] = record
        return True

    task = asyncio.create_task(follow_keys(
        world.worker.bootstrap, topics.name(Topic.KEYS), topics.count(Topic.KEYS), take=take, stopping=stop.is_set
    ))  # fmt: skip
    yield seen
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_from_the_request_to_a_key_that_gates_know(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with running(tansu_broker, prefix, tmp_path, roles=ROLES, people=PEOPLE) as world, following(world) as seen:
        secret = await at_once(world, seen)
        waiting = await by_an_approver(world, seen)
        await kept(world, waiting)
        await cut_at_the_gates(world, waiting)
        await nowhere(world, secret, await at_a_provider(world))
        await again_after_a_restart(world, waiting)
        await again_at_a_broker_that_forgot(world, waiting)


async def nowhere(world: World, *secrets: str) -> None:
    """Neither secret is in any topic, or in the store."""
    topics = [spec.name for spec in world.worker.install.topics.specs()]
    reader = AIOKafkaConsumer(
        *topics, bootstrap_servers=world.worker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await reader.start()
    try:
        values, news = list[bytes](), True
        while news:
            batch = await reader.getmany(timeout_ms=1000)
            news = bool(batch)
            values += [record.value for records in batch.values() for record in records if record.value]
    finally:
        await reader.stop()
    tables = await world.rows("SELECT record FROM key_records UNION ALL SELECT record FROM audit")
    everything = b"".join(values) + "".join(row[0] for row in tables).encode()
    assert b"key_ask" in everything
    assert [secret for secret in secrets if secret.encode() in everything] == []


async def at_once(world: World, seen: dict[str, KeyRecord]) -> str:
    answer = await ask(world, "r1")
    told = answer.json()
    assert (answer.status_code, told["state"]) == (201, "active"), told
    assert is_virtual_key(told["key"])
    assert told["key_id"] == world.worker.install.fingerprinter().of(told["key"])
    assert answer.headers["cache-control"] == "no-store"
    await until(lambda: told["key_id"] in seen, "the key at a follower")
    assert seen[told["key_id"]].served(told["expires_ms"] - 1)
    again = await ask(world, "r1")
    assert (again.status_code, again.json()["key_id"], "key" in again.json()) == (200, told["key_id"], False)
    other = await ask(world, "r1", purpose="something else")
    assert other.status_code == 409
    wrong = await ask(world, owner="eve", networks=["home"], env="dev")
    assert [error["field"] for error in wrong.json()["errors"]] == ["networks"]
    wrong = await ask(world, owner="eve", expires_days=99)
    assert [error["field"] for error in wrong.json()["errors"]] == ["owner", "expires_days"]
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        refused = await world.http.post("/v1/keys", json=WISH, headers=headers or {"authorization": ""})
        assert refused.status_code == 401
    return str(told["key"])


async def by_an_approver(world: World, seen: dict[str, KeyRecord]) -> str:
    answer = await ask(world, "r2", env="prod")
    told = answer.json()
    key_id: str = told["key_id"]
    assert (answer.status_code, told["state"]) == (202, "pending"), told
    assert world.worker.install.facts_of(key_id) is None
    await say(world, Answer(question_id="key:r2", by="ann", choice="approve", at_ms=1))
    await say(world, Answer(question_id="key:r2", by="bob", choice="approve", at_ms=2))
    await until(lambda: key_id in seen and seen[key_id].state == "active", "the approval at a follower")
    assert seen[key_id].approved_by == "bob"
    await until(lambda: world.worker.install.facts_of(key_id) is not None, "the approval at the worker")
    state = (await world.stored(f"/v1/keys/{key_id}")).json()
    assert (state["state"], state["request_id"]) == ("active", "r2")
    assert (await world.stored("/v1/keys/r2")).json()["key_id"] == key_id
    assert (await world.stored("/v1/keys/nobody")).status_code == 404
    return key_id


async def cut_at_the_gates(world: World, key_id: str) -> None:
    """No setting says who acts on keys that are issued here: the gates do."""
    facts = world.worker.install.facts_of(key_id)
    order = Request(request_id="cut", at_ms=wall_ms(), by="bob", action="contain", key_id=key_id, facts=facts)
    await world.ask(order)
    topics = world.worker.install.topics
    name, count = topics.name(Topic.VERDICTS), topics.count(Topic.VERDICTS)

    async def denied() -> bool:
        found = await read_newest(world.worker.bootstrap, name, count, GateVerdict)
        return any(verdict.key_id == key_id and verdict.state == "deny" for verdict in found.values())

    def words() -> str:
        return f"the verdict; told: {world.told(Outcome, key_id)}, {world.told(Incident, key_id)}"

    await until(denied, words)


async def at_a_provider(world: World) -> str:
    """A credential that the provider itself makes, sealed to whoever asked."""
    private, public = new_reader()
    wish = {"kind": "provider", "provider": "sandbox"}
    assert [error["field"] for error in (await ask(world, **wish)).json()["errors"]] == ["seal_to"]
    told = (await ask(world, "r4", seal_to=public, **wish)).json()
    assert (told["state"], "key" in told) == ("pending", False)
    await say(world, Answer(question_id="key:r4", by="bob", choice="approve", at_ms=3))

    async def there() -> dict[str, Any]:
        found: dict[str, Any] = (await world.stored("/v1/keys/r4")).json()
        return found if "sealed" in found else {}

    await until(there, "the credential")
    state = await there()
    secret = unseal(state["sealed"], private, "r4").get_secret_value()
    assert state["key_id"] == world.worker.install.fingerprinter().of(secret)
    assert world.sandbox.admit_credential(f"Bearer {secret}") == 200
    return secret


async def kept(world: World, key_id: str) -> None:
    async def told() -> dict[str, Any]:
        found: dict[str, Any] = (await world.stored(f"/v1/key_history?key_id={key_id}")).json()
        return found

    async def both() -> bool:
        return len((await told())["records"]) == 2

    await until(both, "both versions in the store")
    versions = (await told())["records"]
    assert [(version["by"], version["state"]) for version in versions] == [("ann", "pending"), ("bob", "active")]

    async def audited() -> bool:
        sql = "SELECT actor, action, result FROM audit FINAL WHERE key_id = {key:String} ORDER BY at, actor"
        rows = await world.rows(sql, key=key_id)
        return sorted(rows) == [
            ("ann", "answer_key_request", "refused"), ("ann", "key_ask", "waits"),
            ("bob", "answer_key_request", "taken"),
        ]  # fmt: skip

    await until(audited, "the audit")


async def again_after_a_restart(world: World, key_id: str) -> None:
    """Another worker, of which the first one is the only predecessor: state comes from the topics alone."""
    old = world.worker
    await old.stop()
    install = old.install
    install.registry = type(install.registry)(install.folder.keys)
    worker = Worker(install, old.bootstrap, ("identity", "http", "archive"))
    await worker.start()
    try:
        assert worker.install.registry.entry(key_id) is not None
        token = install.query_token().get_secret_value()
        async with httpx.AsyncClient(base_url=worker.url, headers={"authorization": f"Bearer {token}"}) as http:
            repeated = await http.post("/v1/keys", json={**WISH, "env": "prod"}, headers={"idempotency-key": "r2"})
            assert (repeated.status_code, repeated.json()["state"]) == (200, "active")
            new = await http.post("/v1/keys", json=WISH, headers={"idempotency-key": "r3"}, timeout=30)
            assert new.status_code == 201, new.text
    finally:
        await worker.stop()


async def again_at_a_broker_that_forgot(world: World, key_id: str) -> None:
    """The embedded one forgets at each restart: here another prefix stands for it. The store has the keys."""
    old = world.worker.install
    wiring = old.folder.wiring
    forgot = wiring.kafka.model_copy(update={"topic_prefix": wiring.kafka.topic_prefix + "new."})
    folder = replace(old.folder, wiring=wiring.model_copy(update={"kafka": forgot}))
    worker = Worker(Install(folder, old.config_dir, old.environ), world.worker.bootstrap, ("identity", "archive"))
    await worker.start()
    try:
        found = worker.install.registry.entry(key_id)
        assert found is not None
        assert found.state == "active"
        topics = worker.install.topics
        name, count = topics.name(Topic.KEYS), topics.count(Topic.KEYS)
        assert key_id in await read_newest(worker.bootstrap, name, count, KeyRecord)
    finally:
        await worker.stop()
