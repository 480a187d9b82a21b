"""Consumers, key-auth credentials and plugins as Kong's Admin API documents them, with a database."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from tests.containment.published.checked import Checked
from tests.containment.published.kong import kong as published

PERIODS = ("second", "minute", "hour", "day", "month", "year")
KNOWN: dict[str, dict[str, Any]] = {
    "request-termination": {"status_code": 503, "message": None, "body": None, "content_type": None, "echo": False,
                            "trigger": None},
    "rate-limiting": {**dict.fromkeys(PERIODS), "limit_by": "consumer", "policy": "local", "fault_tolerant": True,
                      "hide_client_headers": False, "redis": None},
}  # fmt: skip


@dataclass
class Consumer:
    """Credentials (id -> value) and plugins (id -> plugin)."""

    keys: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, config: dict[str, Any], **more: Any) -> str:
        """A plugin of somebody else."""
        plugin_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}{len(self.plugins)}"))
        whole = {"id": plugin_id, "name": name, "enabled": True, "tags": None, "route": None, "service": None}
        self.plugins[plugin_id] = {**whole, "config": {**KNOWN[name], **config}, **more}
        return plugin_id


class _Stop(Exception):
    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(body["message"])
        self.status = status
        self.body = body


def create(  # noqa: C901 - one documented shape, read in one piece
    secret: str, consumers: dict[str, Consumer], *, read_only: bool = False, page_size: int = 1000
) -> Checked:
    """`read_only`: without a database."""
    app = FastAPI()

    @app.exception_handler(_Stop)
    async def stop(_: Request, stopped: _Stop) -> JSONResponse:
        return JSONResponse(stopped.body, stopped.status)

    def consumer(request: Request, name: str) -> Consumer:
        given = request.headers.get("kong-admin-token")
        if given != secret:
            raise _Stop(401, message=f"Invalid RBAC credentials {given}")
        if name not in consumers:
            raise _Stop(404, message="Not found")
        if read_only and request.method != "GET":
            raise _Stop(405, code=12, name="operation unsupported",
                        message="cannot change entities when not using a database")  # fmt: skip
        return consumers[name]

    def page(request: Request, found: list[dict[str, Any]]) -> dict[str, Any]:
        size = min(page_size, int(request.query_params.get("size", 100)))
        start = int(request.query_params.get("offset", 0))
        more = {"offset": str(start + size)} if start + size < len(found) else {}
        return {"data": found[start : start + size], "next": None, **more}

    def shown(key_id: str, value: str) -> dict[str, Any]:
        return {"id": key_id, "key": value, "created_at": 1, "consumer": {"id": "c"}, "tags": None, "ttl": None}

    @app.get("/consumers/{name}/key-auth")
    async def keys(request: Request, name: str) -> Any:
        return page(request, [shown(*each) for each in consumer(request, name).keys.items()])

    @app.get("/consumers/{name}/key-auth/{key_id}")
    async def key(request: Request, name: str, key_id: str) -> Any:
        found = consumer(request, name).keys
        if key_id not in found:
            raise _Stop(404, message="Not found")
        return shown(key_id, found[key_id])

    @app.delete("/consumers/{name}/key-auth/{key_id}")
    async def delete_key(request: Request, name: str, key_id: str) -> Response:
        consumer(request, name).keys.pop(key_id, None)
        return Response(status_code=204)

    @app.get("/consumers/{name}/plugins")
    async def plugins(request: Request, name: str) -> Any:
        return page(request, list(consumer(request, name).plugins.values()))

    @app.post("/consumers/{name}/plugins")
    async def add(request: Request, name: str) -> Any:
        on, body = consumer(request, name), await request.json()
        if any(each["name"] == body["name"] and not each["route"] for each in on.plugins.values()):
            raise _Stop(409, code=5, name="unique constraint violation", message="UNIQUE violation detected")
        config = _checked(body["name"], {**KNOWN[body["name"]], **body["config"]})
        plugin_id = on.add(body["name"], config, enabled=body.get("enabled", True), tags=body.get("tags"))
        return JSONResponse(on.plugins[plugin_id], 201)

    @app.patch("/consumers/{name}/plugins/{plugin_id}")
    async def change(request: Request, name: str, plugin_id: str) -> Any:
        on, body = consumer(request, name), await request.json()
        if plugin_id not in on.plugins:
            raise _Stop(404, message="Not found")
        old = on.plugins[plugin_id]
        config = _checked(old["name"], {**old["config"], **body.get("config", {})})
        on.plugins[plugin_id] = {**old, **body, "config": config}
        return on.plugins[plugin_id]

    @app.delete("/consumers/{name}/plugins/{plugin_id}")
    async def delete_plugin(request: Request, name: str, plugin_id: str) -> Response:
        consumer(request, name).plugins.pop(plugin_id, None)
        return Response(status_code=204)

    return Checked(app, published())


def _checked(name: str, config: dict[str, Any]) -> dict[str, Any]:
    if not set(config) <= set(KNOWN[name]):
        raise _Stop(400, code=2, name="schema violation", message="unknown field")
    limits = [config[period] for period in PERIODS if name == "rate-limiting" and config[period] is not None]
    if name == "rate-limiting" and (not limits or limits != sorted(limits) or limits[0] <= 0):
        raise _Stop(400, code=2, name="schema violation", message="The limit for minute cannot be lower than second")
    return config
