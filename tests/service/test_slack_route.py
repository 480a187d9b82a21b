"""`POST /v1/slack`: the door, without a worker behind it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from alerting.answers.slack_desk import SlackDesk
from alerting.answers.slack_signed import SlackDoor
from service.slack_answers import slack_router

NOW_S = 1_795_428_000
FORM = "application/x-www-form-urlencoded"


class OneDesk:
    """Takes what it is given, unless it has enough."""

    def __init__(self, ack: dict[str, Any] | None = None, *, full: bool = False) -> None:
        self.taken: list[object] = []
        self._ack, self._full = ack, full

    def take(self, doc: object) -> tuple[bool, dict[str, Any] | None]:
        if self._full:
            return False, None
        self.taken.append(doc)
        return True, self._ack


async def post(
    body: bytes, *desks: tuple[str, OneDesk], secret: str = "first", kind: str = FORM
) -> tuple[httpx.Response, list[str]]:
    """The answer, and what was counted as turned away."""
    away: list[str] = []
    doors = [(SlackDoor(SecretStr(name), now_ms=lambda: NOW_S * 1000), cast("SlackDesk", desk)) for name, desk in desks]
    app = FastAPI()
    app.include_router(slack_router(doors, turned_away=away.append))
    mac = hmac.new(secret.encode(), f"v0:{NOW_S}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {"x-slack-signature": f"v0={mac}", "x-slack-request-timestamp": str(NOW_S), "content-type": kind}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://keyfuse") as client:
        return await client.post("/v1/slack", content=body, headers=headers), away


def payload(doc: object) -> bytes:
    return urlencode({"payload": json.dumps(doc)}).encode()


async def test_each_app_has_its_own_door() -> None:
    first, second = OneDesk(), OneDesk({"response_action": "errors", "errors": {}})
    answer, away = await post(payload({"type": "x"}), ("first", first), ("second", second), secret="second")
    assert (answer.status_code, answer.json(), away) == (200, {"response_action": "errors", "errors": {}}, [])
    assert (first.taken, second.taken) == ([], [{"type": "x"}])
    answer, away = await post(payload({}), ("first", first), ("second", second), secret="third")
    assert (answer.status_code, away, first.taken) == (401, ["unsigned"], [])


async def test_an_acknowledgement_without_words_is_empty() -> None:
    answer, _ = await post(payload({"type": "x"}), ("first", OneDesk()))
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 2_000_000, FORM, 413), (payload({}), "text/html", 415), (b"payload=%7B", FORM, 400),
        (b"\xff", FORM, 401), (b"ssl_check=1&token=x", FORM, 200),
    ],
)  # fmt: skip
async def test_what_is_nothing_for_the_desk(body: bytes, kind: str, status: int) -> None:
    desk = OneDesk()
    answer, _ = await post(body, ("first", desk), kind=kind)
    assert (answer.status_code, desk.taken) == (status, [])


async def test_too_much_at_once_is_told_to_come_again() -> None:
    answer, _ = await post(payload({}), ("first", OneDesk(full=True)))
    assert answer.status_code == 503
