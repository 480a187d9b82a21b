"""A key's life through a real worker: replaced, refused by its provider, proved; and its owner leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
from standardwebhooks.webhooks import Webhook

from containment.sealing import new_reader
from schemas.config.keys import IssueRule, IssuingConfig, RotationConfig
from schemas.config.people import PersonConfig
from schemas.config.wiring import PeopleLeftConfig
from schemas.key_ask import KeyAsk, KeyWish
from schemas.key_record import KeyRecord
from schemas.life import RotateKey, RotationEvidence
from schemas.question import Question
from schemas.records import AuditRow, Incident
from service.config_tree import Folder
from service.install import wall_ms
from streams.newest_records import read_newest
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.world import ENVIRON, running, until

OLD, NEW, OTHER = "key_old", "key_new", "key_other"
SECRET = f"whsec_{'bmV3' * 8}"
TEAM = {"vera": PersonConfig(role="viewer"), "ada": PersonConfig(role="approver")}


def owned(folder: Folder) -> Folder:
    """Vera owns the keys; whatever is due is due at once."""
    keys = folder.keys.model_copy(
        update={
            "keys": tuple(key.model_copy(update={"owner": "vera"}) for key in folder.keys.keys),
            "issuing": IssuingConfig(overlap_h=0, envs={"dev": IssueRule(instant=True, provider_instant=True)}),
            "rotation": RotationConfig(after_leaving_h=0.001),
        }
    )  # fmt: skip
    wiring = folder.wiring.model_copy(update={"people_left": PeopleLeftConfig(secret_env="HR_SECRET")})
    return replace(folder, keys=keys, wiring=wiring)


async def test_an_old_key_is_refused_and_proved_and_a_leaver_leaves_no_key_behind(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(
        tansu_broker, prefix, tmp_path, roles=("http", "archive", "decide", "contain", "identity"),
        keys=[OLD, NEW, OTHER], mode="observe", people=TEAM, change=owned, environ={**ENVIRON, "HR_SECRET": SECRET},
    ) as world:  # fmt: skip
        topics = world.worker.install.topics

        async def records() -> dict[str, KeyRecord]:
            return dict(await read_newest(tansu_broker.bootstrap, topics.name(Topic.KEYS), 1, KeyRecord))

        async def state(key_id: str) -> str:
            found = (await records()).get(key_id)
            return found.state if found else ""

        rotate = RotateKey(request_id="r1", by="vera", at_ms=wall_ms(), key_id=OLD, new_key_id=NEW, reason="quarterly")
        await Outbox(world.sender, topics).send(Topic.KEY_ASKS, [("r1", rotate), ("r1", rotate)])

        async def retired() -> bool:
            return await state(OLD) == "retired"

        await until(retired, "the old key is proved to be refused")
        assert (world.sandbox.admit(OLD), world.sandbox.admit(NEW)) == (401, 200)
        await until(lambda: [row for row in world.told(AuditRow, NEW) if row.action == "rotation"], "the evidence")
        evidence = RotationEvidence.model_validate(
            next(row.detail for row in world.told(AuditRow, NEW) if row.action == "rotation")
        )
        assert (evidence.old_key_id, evidence.new_key_id, evidence.by) == (OLD, NEW, "vera")
        assert evidence.proof.startswith("disable confirmed after ")
        assert world.told(Incident, OLD) == []  # nobody is called for the end of a life

        wish = KeyWish(
            team="search", app="ranker", env="dev", purpose="try new prompts", kind="provider", provider="sandbox"
        )
        _, reader = new_reader()
        ask = KeyAsk(request_id="m1", at_ms=wall_ms(), by="vera", wish=wish, seal_to=reader)
        await Outbox(world.sender, topics).send(Topic.KEY_ASKS, [("m1", ask)])

        async def made(request_id: str) -> KeyRecord | None:
            found = (await records()).values()
            return next((key for key in found if key.request_id == request_id and key.state == "active"), None)

        await until(lambda: made("m1"), "the provider makes a credential")
        first = await made("m1")
        assert first is not None
        again = RotateKey(request_id="m2", by="vera", at_ms=wall_ms(), key_id=first.key_id, seal_to=reader)
        await Outbox(world.sender, topics).send(Topic.KEY_ASKS, [("m2", again)])

        async def replaced() -> bool:
            return await state(first.key_id) == "retired"

        await until(replaced, "its successor takes over, and it is proved to be refused")
        second = await made("m2")
        assert second is not None
        assert (second.replaces, second.owner) == (first.key_id, "vera")

        answer = await left(world.http, {"person": "vera", "reason": "has left"})
        assert (answer.status_code, answer.json()) == (202, {"person": "vera", "keys": 7})

        async def inherited() -> bool:
            return {key.owner for key in (await records()).values() if key.state == "active"} == {"ada"}

        await until(inherited, "somebody else answers for each key in use")

        async def told() -> set[str]:
            found = await read_newest(tansu_broker.bootstrap, topics.name(Topic.QUESTIONS), 1, Question)
            return {each.about for each in found.values() if each.state == "open" and each.to == ("ada",)}

        async def both() -> bool:
            return await told() == {NEW, OTHER, second.key_id}

        await until(both, "who inherits them is told that their secrets are due")


async def left(http: httpx.AsyncClient, doc: dict[str, str]) -> httpx.Response:
    now, body = datetime.now(UTC), orjson.dumps(doc)  # noqa: TID251 - the library compares with its own clock
    signature = Webhook(SECRET).sign("msg_1", now, body.decode())
    signed = {
        "webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature
    }  # fmt: skip
    return await http.post("/v1/people/left", content=body, headers=signed)
