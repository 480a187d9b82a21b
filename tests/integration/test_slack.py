"""The whole way and back: a theft, a message with buttons, a person who answers it in Slack, and the key is cut."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from schemas.config.people import PersonConfig
from schemas.records import AuditRow, Request
from service.install import wall_ms
from tests.alerting.slack_server import SIGNING, FakeSlack, slack
from tests.brokers import Broker
from tests.integration.servers import Gate
from tests.integration.uses import T0_MS, theft, use
from tests.integration.world import World, running, until

STOLEN, OTHER = "key_stolen", "key_other"
TEAM = {
    "ben": PersonConfig(role="approver", slack="U0BEN"),
    "vera": PersonConfig(role="viewer", slack="U0VERA"), "rosa": PersonConfig(role="responder", slack="U0ROSA"),
    "ada": PersonConfig(role="approver", slack="U0ADA"),
}  # fmt: skip
SOCKET = {"slack": {"app_token_env": "SLACK_APP_TOKEN"}, "pictures": False}
HTTP = {"slack": {"signing_secret_env": "SLACK_SIGNING"}, "pictures": False}


@asynccontextmanager
async def world_with(
    broker: Broker, prefix: str, directory: Path, way: dict[str, Any], mode: str = "observe"
) -> AsyncIterator[tuple[World, FakeSlack]]:
    """A worker that cuts nothing by itself, and a Slack in front of it."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(slack())
        fake.now_s = wall_ms() // 1000
        world = await stack.enter_async_context(
            running(
                broker, prefix, directory, keys=[STOLEN, OTHER], mode=mode, people=TEAM,
                urls={"slack": fake.url}, slack=way,
            )
        )  # fmt: skip
        yield world, fake


async def steal(world: World) -> None:
    await world.produce(*theft(STOLEN, T0_MS), use("closes it", STOLEN, T0_MS + 9000), key=STOLEN)


def shows(fake: FakeSlack, button: str) -> bool:
    return bool(fake.made("chat.postMessage")) and button in fake.buttons()


async def test_a_theft_is_contained_from_slack_by_who_may_and_the_thread_says_by_whom(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with world_with(tansu_broker, prefix, tmp_path, SOCKET) as (world, fake):
        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await steal(world)
        await until(lambda: shows(fake, "contain"), "a message with buttons")
        assert world.sandbox.admit(STOLEN) == 200

        await fake.send(fake.click("U0VERA", "contain"))
        await until(lambda: fake.whispers, "the viewer is told")
        assert "vera is viewer; contain needs responder" in fake.whispers[-1]["text"]
        assert fake.made("views.open") == []
        await until(
            lambda: any((row.actor, row.result) == ("vera", "refused") for row in world.told(AuditRow, STOLEN)),
            "the audit has it",
        )

        await fake.send(fake.click("U0ROSA", "contain"))
        await until(lambda: fake.made("views.open"), "the form with the plan")
        shown = json.dumps(fake.view())
        assert "search/ranker in prod" in shown
        assert "Disable at the provider" in shown
        assert await fake.send(fake.submit("U0ROSA", step="disable", reason="leaked in a gist")) == {}

        await until(lambda: world.sandbox.admit(STOLEN) == 401, "the provider refuses the key")
        await until(lambda: shows(fake, "restore"), "the message is edited")
        assert "contained" in fake.message()["text"]
        assert len([body for body in fake.made("chat.postMessage") if "thread_ts" not in body]) == 1
        await until(lambda: any("Contained" in text for text in fake.thread()), "the thread tells it")
        assert any("by rosa" in text and "leaked in a gist" in text for text in fake.thread())

        await fake.send(fake.click("U0ADA", "restore"))
        await until(lambda: world.sandbox.admit(STOLEN) == 200, "the key is given back")
        await until(lambda: any("Restored by ada" in text for text in fake.thread()), "the thread tells that too")

        metrics = (await world.http.get("/metrics")).text
        assert 'keyfuse_answers_total{result="taken",via="slack"} 2.0' in metrics
        assert 'keyfuse_answers_total{result="refused",via="slack"} 1.0' in metrics
        assert 'keyfuse_slack_connected{channel="slack"} 1.0' in metrics


async def test_what_cannot_be_undone_waits_for_a_second_person_in_slack(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with world_with(tansu_broker, prefix, tmp_path, SOCKET) as (world, fake):
        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await steal(world)
        await until(lambda: shows(fake, "contain"), "a message with buttons")

        await fake.send(fake.click("U0ROSA", "snooze", option=1))
        await until(lambda: any("rosa snoozed it until" in text for text in fake.thread()), "the thread tells it")
        await until(lambda: shows(fake, "resolve"), "the message is acknowledged")

        await fake.send(fake.click("U0ADA", "contain"))
        await until(lambda: fake.made("views.open"), "the form with the plan")
        await fake.send(fake.submit("U0ADA", step="revoke", reason="it is in a public gist"))
        await until(lambda: shows(fake, "approve"), "it waits for a second person")
        assert "1 of 2: ada" in json.dumps(fake.message()["blocks"])
        assert world.sandbox.admit(STOLEN) == 200

        fake.whispers.clear()
        await fake.send(fake.click("U0ADA", "approve"))
        await until(lambda: fake.whispers, "the same person is told")
        assert "ada stands behind it already" in fake.whispers[-1]["text"]
        await fake.send(fake.click("U0BEN", "approve"))
        await until(lambda: world.sandbox.admit(STOLEN) == 401, "the key is revoked")
        await until(lambda: "approve" not in fake.buttons(), "nothing waits any more")
        assert "restore" not in fake.buttons()


async def test_a_person_says_no_in_slack(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with world_with(tansu_broker, prefix, tmp_path, SOCKET, mode="approve") as (world, fake):
        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await steal(world)
        await until(lambda: shows(fake, "reject"), "a step waits for a person")
        assert "0 of 1" in json.dumps(fake.message()["blocks"])
        await fake.send(fake.click("U0ROSA", "reject"))
        await until(lambda: any("rosa says no to" in text for text in fake.thread()), "the thread tells it")
        await until(lambda: "reject" not in fake.buttons(), "nothing waits any more")
        await fake.send(fake.click("U0ROSA", "expected"))
        await until(lambda: fake.made("views.open"), "a form")
        await fake.send(fake.submit("U0ROSA", until=wall_ms() // 1000 + 7200, reason="a load test"))
        await until(lambda: any("rosa expects this use until" in text for text in fake.thread()), "and that")
        await until(lambda: fake.buttons() == set(), "the incident is over")
        assert world.sandbox.admit(STOLEN) == 200


async def test_kill_from_slack_cuts_every_key_of_the_list(tansu_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with world_with(tansu_broker, prefix, tmp_path, SOCKET) as (world, fake):
        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await fake.send(fake.slash("U0ROSA", "kill team:search"))
        await until(lambda: fake.made("views.open") and OTHER in json.dumps(fake.view()), "the list")
        assert f"{OTHER} (search/ranker in prod, sandbox): disable, can be undone" in json.dumps(fake.view())
        wrong = await fake.send(fake.submit("U0ROSA", typed="3 kill", reason="drill"))
        assert wrong["errors"] == {"typed": "Type exactly: 2 kill"}
        await fake.send(fake.submit("U0ROSA", typed="2 kill", reason="drill"))
        await until(
            lambda: (world.sandbox.admit(STOLEN), world.sandbox.admit(OTHER)) == (401, 401), "both keys are refused"
        )
        await until(lambda: fake.whispers, "the person is told")
        assert "Ordered to cut 2 of 2 keys." in fake.whispers[-1]["text"]

        fake.whispers.clear()
        await until(lambda: shows(fake, "resolve"), "messages of the incidents that the order opened")
        await fake.send(fake.slash("U0VERA", "status"))
        await until(lambda: fake.whispers, "the status")
        assert "2 incidents open" in json.dumps(fake.whispers[-1]["blocks"])


async def test_while_slack_is_away_nothing_is_lost_and_the_buttons_are_those_of_now(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(slack())
        gate = await stack.enter_async_context(Gate(urlsplit(fake.url).port or 0))
        world = await stack.enter_async_context(
            running(
                tansu_broker, prefix, tmp_path, keys=[STOLEN], mode="observe", people=TEAM,
                urls={"slack": f"http://127.0.0.1:{gate.port}"}, slack=SOCKET,
            )
        )  # fmt: skip
        await until(lambda: fake.sockets, "Keyfuse opens a connection")
        await gate.shut()
        await steal(world)
        await until(lambda: world.incident(STOLEN), "an incident")
        await world.ask(Request(
            request_id="r1", at_ms=wall_ms(), by="rosa", action="contain", key_id=STOLEN, step="disable"
        ))  # fmt: skip
        await until(lambda: world.ended(STOLEN, "confirmed"), "the key is cut")
        assert fake.made("chat.postMessage") == []

        async def waits() -> bool:
            stages = (await world.http.get("/healthz")).json()["stages"]
            return "not connected" in stages["slack slack"]["waiting"]

        await until(waits, "health says that Slack is away")
        await gate.open()
        await until(lambda: shows(fake, "restore"), "the message, in its newest state")
        assert fake.buttons() == {"restore", "resolve", "false_positive"}
        await until(lambda: len(fake.sockets) > 1, "Keyfuse connects again", patience_s=60)
        await fake.send(fake.click("U0ROSA", "restore"))
        await until(lambda: world.sandbox.admit(STOLEN) == 200, "a click after the outage counts")


def signed(fields: dict[str, str], secret: str = SIGNING, stamp: int = 0) -> tuple[bytes, dict[str, str]]:
    body = urlencode(fields).encode()
    stamp = stamp or wall_ms() // 1000
    mac = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "x-slack-signature": f"v0={mac}", "x-slack-request-timestamp": str(stamp),
        "content-type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    return body, headers


async def test_signed_calls_do_the_same_and_others_do_nothing(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with (
        world_with(tansu_broker, prefix, tmp_path, HTTP) as (world, fake),
        httpx.AsyncClient(base_url=world.worker.url) as outside,  # without the intake's token
    ):
        await steal(world)
        await until(lambda: shows(fake, "acknowledge"), "a message with buttons")
        assert fake.sockets == []
        payload = {"payload": json.dumps(fake.click("U0ROSA", "acknowledge"))}

        async def post(body: bytes, headers: dict[str, str]) -> httpx.Response:
            return await outside.post("/v1/slack", content=body, headers=headers)

        for forged in (
            signed(payload, "another secret"), signed(payload, stamp=wall_ms() // 1000 - 400), (b"payload={}", {}),
        ):  # fmt: skip
            assert (await post(*forged)).status_code in (401, 415)

        good = signed(payload)
        taken = await post(*good)
        assert (taken.status_code, taken.content) == (200, b"")
        assert (await post(*good)).json() == {"detail": "seen before"}
        await until(lambda: any("rosa is looking into it" in text for text in fake.thread()), "the thread tells it")

        assert (await post(*signed({"payload": "no"}))).status_code == 400
        body = b'{"type": "url_verification", "challenge": "abc"}'
        _, headers = signed({})
        mac = hmac.new(
            SIGNING.encode(), f"v0:{headers['x-slack-request-timestamp']}:".encode() + body, hashlib.sha256
        ).hexdigest()
        json_headers = headers | {"x-slack-signature": f"v0={mac}", "content-type": "application/json"}
        assert (await post(body, json_headers)).json() == {"challenge": "abc"}
        await post(*signed({key: str(value) for key, value in fake.slash("U0ROSA", "status").items()}))
        await until(
            lambda: any("1 incident open" in json.dumps(each["blocks"]) for each in fake.whispers), "the status"
        )
        metrics = (await world.http.get("/metrics")).text
        assert 'keyfuse_answers_total{result="taken",via="slack"} 1.0' in metrics
        assert 'keyfuse_answers_total{result="unsigned",via="slack"} 1.0' in metrics
        assert 'keyfuse_answers_total{result="stale",via="slack"} 1.0' in metrics
        assert 'keyfuse_answers_total{result="repeat",via="slack"} 1.0' in metrics


@pytest.mark.parametrize("way", [{}, {"slack": {"answers": "none", "app_token_env": "SLACK_APP_TOKEN"}}])
async def test_where_nobody_hears_there_are_no_buttons_and_no_door(
    tansu_broker: Broker, prefix: str, tmp_path: Path, way: dict[str, Any]
) -> None:
    async with world_with(tansu_broker, prefix, tmp_path, way) as (world, fake):
        await steal(world)
        await until(lambda: fake.made("chat.postMessage"), "the message")
        assert fake.buttons() == set()
        assert fake.made("apps.connections.open") == []
        body, headers = signed({"payload": "{}"})
        assert (await world.http.post("/v1/slack", content=body, headers=headers)).status_code == 404
