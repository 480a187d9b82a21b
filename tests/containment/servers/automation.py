"""Somebody's own automation behind a signed webhook; the signature is checked by Standard Webhooks' own library."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.types import Message, Receive, Scope, Send

from tests.containment.servers.serve import Faulty

FIELDS = {
    "snapshot": {"version", "action", "provider", "ref"},
    "apply": {"version", "action", "provider", "ref", "step", "scope"},
    "check": {"version", "action", "provider", "ref", "step", "scope"},
    "undo": {"version", "action", "provider", "ref", "step", "scope", "pre_state"},
}


@dataclass
class Automation:
    """Keys with the steps that hold for them."""

    keys: dict[str, set[str]]
    ids: list[str] = field(default_factory=list)
    pre_state: dict[str, Any] = field(default_factory=dict)  # what it adds to a snapshot
    lags: bool = False


def create(secret: str, automation: Automation) -> FastAPI:
    app = FastAPI()

    @app.post("/hook/{shown}")
    async def hook(request: Request, shown: str) -> Any:
        raw = await request.body()
        try:
            Webhook(secret).verify(raw, dict(request.headers))
        except WebhookVerificationError as error:
            return JSONResponse({"error": str(error)}, 401)
        message = json.loads(raw)
        automation.ids.append(request.headers["webhook-id"])
        if set(message) != FIELDS[shown]:
            return JSONResponse({"error": "fields"}, 422)
        if message["ref"] not in automation.keys:
            return JSONResponse({"error": "no such key"}, 404)
        return _ANSWERS[message["action"]](automation, automation.keys[message["ref"]], message)

    return app


def _snapshot(automation: Automation, held: set[str], message: dict[str, Any]) -> dict[str, Any]:
    return {"pre_state": {"held": " ".join(sorted(held)), **automation.pre_state}}


def _apply(automation: Automation, held: set[str], message: dict[str, Any]) -> dict[str, Any]:
    held.add(message["step"])
    return _check(automation, held, message)


def _check(automation: Automation, held: set[str], message: dict[str, Any]) -> dict[str, Any]:
    if automation.lags and message["step"] in held:
        return {"state": "pending", "words": "the ticket is open"}
    return {"state": "applied" if held & {message["step"], "revoke"} else "not_applied"}


def _undo(automation: Automation, held: set[str], message: dict[str, Any]) -> dict[str, Any]:
    if message["step"] not in message["pre_state"].get("held", "").split():  # an empty one: the key is to work
        held.discard(message["step"])
    return _check(automation, held, message)


_ANSWERS = {"snapshot": _snapshot, "apply": _apply, "check": _check, "undo": _undo}


class ByAction(Faulty):
    """All messages go to one address; what a message asks for is shown to the bench as the end of its path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        shown = f"{scope['path']}/{json.loads(body)['action']}"
        await super().__call__({**scope, "path": shown}, again, send)
