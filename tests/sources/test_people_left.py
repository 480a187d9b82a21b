"""The HR system's word: signed, understood, taken once; or why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from controls.people import People
from schemas.config import PeopleConfig
from schemas.life import PersonLeft
from sources.errors import BrokerDown
from sources.people_left import PATH, Hook, create_people_left

OLD, NEW, FOREIGN = (f"whsec_{name * 8}" for name in ("b2xk", "bmV3", "Zm9y"))
TEAM = People(
    PeopleConfig.model_validate({"people": {"vera": {"role": "viewer", "slack": "U0VERA"}, "ada": {"role": "admin"}}})
)


class World:
    def __init__(self) -> None:
        self.sent: list[PersonLeft] = []
        self.counted: list[str] = []
        self.failure: Exception | None = None

    async def send(self, message: PersonLeft) -> None:
        if self.failure is not None:
            raise self.failure
        self.sent.append(message)

    async def post(
        self, doc: Any, *, secret: str = NEW, ahead_min: int = 0, message_id: str = "msg_1", **headers: str
    ) -> httpx.Response:
        body = doc if isinstance(doc, bytes) else orjson.dumps(doc)
        at = datetime.now(UTC) + timedelta(minutes=ahead_min)  # noqa: TID251 - the library compares with its own clock
        signed = {
            "webhook-id": message_id, "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(message_id, at, body.decode(errors="replace")),
        }  # fmt: skip
        hook = Hook(
            SecretStr(f"{NEW} {OLD}"), lambda: TEAM, lambda person: 3 if person == "vera" else 0, self.send,
            lambda: 1234, self.counted.append,
        )  # fmt: skip
        app = FastAPI()
        app.include_router(create_people_left(hook))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hr") as client:
            return await client.post(PATH, content=body, headers=signed | headers)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("secret", [NEW, OLD])
@pytest.mark.parametrize(
    "doc",
    [
        {"person": "vera", "to": "ada", "reason": "left", "department": "search"},
        {"slack": "U0VERA", "to": "ada", "reason": "left"},
        {"type": "person.left", "timestamp": "2026-11-30T10:00:00Z", "data": {"person": "vera", "to": "ada",
                                                                               "reason": "left"}},
    ],
)  # fmt: skip
async def test_a_signed_word_is_taken_under_the_id_of_its_message(world: World, doc: Any, secret: str) -> None:
    answer = await world.post(doc, secret=secret)
    assert (answer.status_code, answer.json()) == (202, {"person": "vera", "keys": 3})
    (message,) = world.sent
    assert (message.request_id, message.person, message.to, message.reason) == ("hr:msg_1", "vera", "ada", "left")
    assert (message.by, message.via, message.at_ms) == ("hr", "api", 1234)
    assert world.counted == ["taken"]


async def test_whoever_is_not_in_people_yaml_may_own_keys_all_the_same(world: World) -> None:
    answer = await world.post({"person": "someone-else"})
    assert (answer.status_code, answer.json()["keys"]) == (202, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": FOREIGN},
        {"ahead_min": -6},
        {"ahead_min": 6},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,not base64"},
        {"webhook-signature": "nonsense"},
        {"webhook-timestamp": "soon"},
        {"webhook-id": "another"},
    ],
)
async def test_what_is_not_signed_is_not_believed(world: World, changed: Any) -> None:
    answer = await world.post({"person": "vera"}, **changed)
    assert (answer.status_code, answer.json()["detail"]) == (401, "not signed with this secret, or too long ago")
    assert (world.sent, world.counted) == ([], ["unsigned"])


@pytest.mark.parametrize(
    ("doc", "words"),
    [
        ({}, "person: say who has left, by the name in people.yaml, or `slack` by their member id"),
        ({"person": "vera", "slack": "U0VERA"}, "person: give a person or a slack id, not both"),
        ({"slack": "U0EVE"}, "slack: nobody in people.yaml has the id U0EVE"),
        ({"person": "vera", "to": "eve"}, "to: eve is not in people.yaml"),
        ({"person": 7}, "person: Input should be a valid string"),
        (b"{", "the body: Invalid JSON: EOF while parsing an object at line 1 column 1"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_the_name_of_the_field(world: World, doc: Any, words: str) -> None:
    answer = await world.post(doc)
    assert (answer.status_code, answer.json()["detail"]) == (422, words)
    assert (world.sent, world.counted) == ([], ["not_understood"])


async def test_while_the_broker_is_away_it_is_not_taken(world: World) -> None:
    world.failure = BrokerDown("no broker")
    answer = await world.post({"person": "vera"})
    assert (answer.status_code, world.counted) == (503, ["unavailable"])


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "no-base64!", f"{NEW} short", "   "])
def test_a_secret_that_cannot_sign_is_told_at_the_start(secret: str) -> None:
    hook = Hook(SecretStr(secret), lambda: TEAM, lambda _: 0, World().send, lambda: 0, print)
    with pytest.raises(ValueError, match="no Standard Webhooks secret"):
        create_people_left(hook)
