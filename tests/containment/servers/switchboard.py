"""Your automation, told which key its users are to use: it checks every signature and every field."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.containment.servers.automation import ByAction

__all__ = ["ByAction", "Switchboard", "create"]

FIELDS = {"switch": {"version", "action", "key_id", "use"}, "check": {"version", "action", "key_id"}}


@dataclass
class Switchboard:
    """key_id -> which key its users use."""

    using: dict[str, str]
    tells: bool = True  # it answers `check`; False: any 2xx, like a receiver that only takes orders
    messages: list[dict[str, Any]] = field(default_factory=list)


def create(secret: str, board: Switchboard) -> FastAPI:
    app = FastAPI()

    @app.post("/use/{shown}")
    async def use(request: Request, shown: str) -> Any:
        raw = await request.body()
        try:
            Webhook(secret).verify(raw, dict(request.headers))
        except WebhookVerificationError as error:
            return JSONResponse({"error": str(error)}, 401)
        message = json.loads(raw)
        board.messages.append(message)
        if set(message) != FIELDS[shown]:
            return JSONResponse({"error": "fields"}, 422)
        if message["key_id"] not in board.using:
            return JSONResponse({"error": "no such key"}, 404)
        if message["action"] == "switch":
            board.using[message["key_id"]] = message["use"]
            return Response("done", 202)
        return {"using": board.using[message["key_id"]]} if board.tells else Response(status_code=200)

    return app
