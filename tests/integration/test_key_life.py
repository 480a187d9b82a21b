"""A key's life through a real worker: replaced, refused by its provider, proved; and its owner leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
from standardwebhooks.webhooks import Webhook

from containment.sealing import new_reader
from schemas.config.keys import IssueRule, IssuingConfig, RotationConfig
from schemas.config.people import PersonConfig
from schemas.config.wiring import GateConfig, PeopleLeftConfig, ProviderConfig
from schemas.key_ask import KeyAsk, KeyWish
from schemas.key_record import KeyRecord
from schemas.life import LifeAsk, RotateKey, RotationEvidence
from schemas.question import Question
from schemas.records import AuditRow, Incident
from service.config_tree import Folder
from service.gate_service import GateService
from service.install import Install, wall_ms
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import ENVIRON, World, running, until

OLD, NEW, OTHER = "key_old", "key_new", "key_other"
SECRET = f"whsec_{'bmV3' * 8}"
TEAM = {"vera": PersonConfig(role="viewer"), "ada": PersonConfig(role="approver")}
WISH = {"team": "search", "app": "ranker", "env": "dev", "purpose": "try new prompts"}


def owned(folder: Folder) -> Folder:
    """Vera owns the keys; whatever is due is due at once."""
    keys = folder.keys.model_copy(
        update={
            "keys": tuple(key.model_copy(update={"owner": "vera"}) for key in folder.keys.keys),
            "issuing": IssuingConfig(overlap_h=0, envs={"dev": IssueRule(instant=True, provider_instant=True)}),
            "rotation": RotationConfig(after_leaving_h=0.001),
        }
    )  # fmt: skip
    gated = {**folder.wiring.providers, "keyfuse": ProviderConfig(kind="gate")}
    wiring = folder.wiring.model_copy(
        update={"people_left": PeopleLeftConfig(secret_env="HR_SECRET"), "providers": gated}
    )
    return replace(folder, keys=keys, wiring=wiring)


class Life:
    """One worker, and what it says of keys."""

    def __init__(self, world: World) -> None:
        self.world, self.topics = world, world.worker.install.topics
        self.outbox = Outbox(world.sender, self.topics)

    async def ask(self, *messages: LifeAsk | KeyAsk) -> None:
        await self.outbox.send(Topic.KEY_ASKS, [(message.request_id, message) for message in messages])

    async def records(self) -> Mapping[str, KeyRecord]:
        return await read_newest(self.world.worker.bootstrap, self.topics.name(Topic.KEYS), 1, KeyRecord)

    async def is_retired(self, key_id: str) -> bool:
        found = (await self.records()).get(key_id)
        return found is not None and found.state == "retired"

    async def made(self, request_id: str) -> KeyRecord | None:
        found = (await self.records()).values()
        return next((key for key in found if key.request_id == request_id and key.state == "active"), None)

    async def owners(self) -> set[str]:
        return {key.owner for key in (await self.records()).values() if key.state == "active"}

    async def told(self, person: str) -> set[str]:
        """The keys that this person alone is asked about."""
        found = await read_newest(self.world.worker.bootstrap, self.topics.name(Topic.QUESTIONS), 1, Question)
        return {each.about for each in found.values() if each.state == "open" and each.to == (person,)}

    async def evidence(self, key_id: str) -> RotationEvidence:
        """Of the rotation that ended in this key."""

        def rows() -> list[AuditRow]:
            return [row for row in self.world.told(AuditRow, key_id) if row.action == "rotation"]

        await until(rows, f"the evidence of {key_id}")
        return RotationEvidence.model_validate(rows()[0].detail)


async def test_old_keys_are_refused_and_proved_and_a_leaver_leaves_no_key_behind(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(
        tansu_broker, prefix, tmp_path, roles=("http", "archive", "decide", "contain", "identity"),
        keys=[OLD, NEW, OTHER], mode="observe", people=TEAM, change=owned, environ={**ENVIRON, "HR_SECRET": SECRET},
    ) as world:  # fmt: skip
        life = Life(world)
        await one_of_keys_yaml(life)
        made = await one_that_its_provider_makes(life)
        async with one_gate(world, tmp_path) as gate:
            own = await one_of_keyfuses_own(life, gate)
        await its_owner_leaves(life, {NEW, OTHER, made, own})


async def one_of_keys_yaml(life: Life) -> None:
    rotate = RotateKey(request_id="r1", by="vera", at_ms=wall_ms(), key_id=OLD, new_key_id=NEW, reason="quarterly")
    await life.ask(rotate, rotate)
    await until(lambda: life.is_retired(OLD), "the old key is proved to be refused")
    assert (life.world.sandbox.admit(OLD), life.world.sandbox.admit(NEW)) == (401, 200)
    evidence = await life.evidence(NEW)
    assert (evidence.old_key_id, evidence.new_key_id, evidence.by) == (OLD, NEW, "vera")
    assert evidence.proof.startswith("disable confirmed after ")
    assert life.world.told(Incident, OLD) == []  # nobody is called for the end of a life


async def one_that_its_provider_makes(life: Life) -> str:
    _, reader = new_reader()
    wish = KeyWish(**WISH, kind="provider", provider="sandbox")
    await life.ask(KeyAsk(request_id="m1", at_ms=wall_ms(), by="vera", wish=wish, seal_to=reader))
    await until(lambda: life.made("m1"), "the provider makes a credential")
    first = await life.made("m1")
    assert first is not None
    await life.ask(RotateKey(request_id="m2", by="vera", at_ms=wall_ms(), key_id=first.key_id, seal_to=reader))
    await until(lambda: life.is_retired(first.key_id), "its successor takes over, and it is proved to be refused")
    second = await life.made("m2")
    assert second is not None
    assert (second.replaces, second.owner) == (first.key_id, "vera")
    return second.key_id


async def one_of_keyfuses_own(life: Life, gate: httpx.AsyncClient) -> str:
    mine, next_one = f"fp1:{'a' * 32}", f"fp1:{'b' * 32}"

    async def answers(key_id: str, expected: str) -> bool:
        answer = await gate.post("/v1/authorize", json={"key_id": key_id, "model": "gpt-4o"})
        return bool(answer.json()["state"] == expected)

    await life.ask(KeyAsk(request_id="v1", at_ms=wall_ms(), by="vera", key_id=mine, wish=KeyWish(**WISH)))
    await until(lambda: answers(mine, "allow"), "the gate takes the key that was issued")
    await life.ask(RotateKey(request_id="v2", by="vera", at_ms=wall_ms(), key_id=mine, new_key_id=next_one))
    await until(lambda: answers(next_one, "allow"), "the new one passes")
    await until(lambda: answers(mine, "deny"), "the old one is refused")
    await until(lambda: life.is_retired(mine), "every gate has reported it")
    assert "in force at 1 of 1 gates" in (await life.evidence(next_one)).proof
    return next_one


async def its_owner_leaves(life: Life, keys: set[str]) -> None:
    answer = await left(life.world.http, {"person": "vera", "reason": "has left"})
    assert (answer.status_code, answer.json()["person"]) == (202, "vera")

    async def inherited() -> bool:
        return await life.owners() == {"ada"}

    async def told() -> bool:
        return await life.told("ada") == keys

    await until(inherited, "somebody else answers for each key in use")
    await until(told, "who inherits them is told that their secrets are due")


@asynccontextmanager
async def one_gate(world: World, directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A replica beside the worker."""
    own = world.worker.install.folder
    wiring = own.wiring.model_copy(update={"gate": GateConfig(port=0, replica="a", token_env="GATE_TOKEN")})
    environ = {"KEYFUSE_PEPPER": "pepper of the tests", "GATE_TOKEN": "token-of-the-gateways"}
    gate = GateService(Install(replace(own, wiring=wiring), directory, environ=environ), world.worker.bootstrap)
    await gate.start()
    try:
        headers = {"authorization": "Bearer token-of-the-gateways"}
        async with httpx.AsyncClient(base_url=gate.url, headers=headers, trust_env=False) as client:
            yield client
    finally:
        await gate.stop()


async def left(http: httpx.AsyncClient, doc: dict[str, str]) -> httpx.Response:
    now, body = datetime.now(UTC), orjson.dumps(doc)  # noqa: TID251 - the library compares with its own clock
    signature = Webhook(SECRET).sign("msg_1", now, body.decode())
    signed = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature
    }  # fmt: skip
    return await http.post("/v1/people/left", content=body, headers=signed)
