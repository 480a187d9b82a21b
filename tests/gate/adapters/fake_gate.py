"""A gate that answers as the test says, by the contract in JSON, and beside it a real intake. Everything is noted."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gate.adapters.wire import Answer, answer_of
from gate.check import PATH, checked, question_from
from schemas.fingerprint import Fingerprinter
from sources.acceptance import Acceptor
from sources.http_intake import Message, create_intake
from tests.containment.servers.serve import Faulty, serving
from tests.integration.servers import Gate as Door

ALLOW: Final[dict[str, Any]] = {"state": "allow", "reason": "", "rule": ""}
FINGERPRINTER: Final = Fingerprinter(SecretStr("pepper of the fake"))
INTAKE_TOKEN: Final = "of-the-intake"
STRANGER: Final = {"state": "deny", "rule": "gate.unknown_keys", "reason": "nobody has registered this key"}
_METHODS: Final = ["GET", "POST", "PUT", "DELETE"]


def key_id(secret: str) -> str:
    """As gate and intake fingerprint it."""
    return FINGERPRINTER.of(secret)


@dataclass
class FakeGate:
    """`says[key_id]` is what it answers for a key; others pass. Virtual keys pass only when they are in `issued`."""

    says: dict[str, dict[str, Any]] = field(default_factory=dict)
    issued: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    settled: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)  # native events, as the intake publishes them
    door: Door = field(init=False)  # shut, the gate is away
    layer: Faulty = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def calls(self) -> list[dict[str, Any]]:
        """Questions about calls, without those that only ask who somebody is."""
        return [asked for asked in self.asked if asked.get("requests") != 0]

    def settled_of(self, secret: str) -> list[dict[str, Any]]:
        return [settled for settled in self.settled if settled["reservation"].startswith(key_id(secret))]

    def told_of(self, secret: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["key_id"] == key_id(secret)]

    def app(self) -> FastAPI:
        routes: list[BaseRoute] = [
            Route("/v1/authorize", self._authorize, methods=["POST"]),
            Route("/v1/settle", self._settle, methods=["POST"]),
            Route(f"{PATH}{{rest:path}}", self._check, methods=_METHODS),
        ]
        intake = create_intake(
            publish=self._publish, acceptor=Acceptor(fingerprinter=FINGERPRINTER), token=SecretStr(INTAKE_TOKEN),
            max_body_bytes=5_000_000, now_ms=lambda: round(time.time() * 1000),  # noqa: TID251 - of the real world
        )  # fmt: skip
        app = FastAPI(routes=routes)
        app.include_router(intake)
        return app

    async def _publish(self, messages: Sequence[Message]) -> None:
        for _, value, _ in messages:
            self.told.extend(json.loads(line) for line in value.split(b"\n"))

    def judge(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        who = asked["key_id"] if "key_id" in asked else key_id(asked["key"])
        said = self.says.get(who, ALLOW)
        if asked.get("key", "").startswith("kfk_") and asked["key"] not in self.issued:
            said = STRANGER
        passes = said["state"] in {"allow", "degrade"}
        return said | {"key_id": who} | ({"reservation": f"{who} {len(self.asked)}"} if passes else {})

    async def _authorize(self, request: Request) -> Response:
        return JSONResponse(self.judge(await request.json()))

    async def _settle(self, request: Request) -> Response:
        self.settled.append(await request.json())
        return JSONResponse({"state": "settled", "reason": ""})

    async def _check(self, request: Request) -> Response:
        headers = dict(request.headers)
        asked = question_from(request.method, urlsplit(str(request.url)).path, headers, await request.body())
        answer = asked if isinstance(asked, Answer) else answer_of(self.judge(asked))
        told = checked(answer, headers=headers)
        return Response(told.body, told.status, told.headers)


@asynccontextmanager
async def fake_gate() -> AsyncIterator[FakeGate]:
    """Behind a door, so that it can be away and come back at the same address."""
    fake = FakeGate()
    fake.layer = Faulty(fake.app())
    async with serving(fake.layer) as url, Door(int(url.rsplit(":", 1)[1])) as fake.door:
        yield fake
