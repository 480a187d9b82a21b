"""Organization API keys as Anthropic documents them (Admin API, api_keys)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse

from tests.containment.published.checked import Checked
from tests.containment.published.clients import anthropic


def create(secret: str, keys: dict[str, str]) -> Checked:  # noqa: C901 - one documented shape, read in one piece
    """`keys`: id -> status."""
    app = FastAPI()

    def error(status: int, kind: str, message: str) -> JSONResponse:
        return JSONResponse({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}, status)

    def stop(headers: dict[str, str], key: str) -> JSONResponse | None:
        if not headers.get("anthropic-version"):
            return error(400, "invalid_request_error", "anthropic-version: header is required")
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if given != secret:
            return error(401, "authentication_error", f"invalid x-api-key {given}")
        return None if key in keys else error(404, "not_found_error", f"API key {key} not found")

    def shown(key: str) -> dict[str, Any]:
        return {
            "type": "api_key",
            "id": key,
            "name": "checkout",
            "status": keys[key],
            "partial_key_hint": "sk-ant-api03-R2D...igAA",
            "created_at": "2026-10-30T23:58:27.427722Z",
            "created_by": {"id": "user_1", "type": "user"},
            "expires_at": None,
            "principal": None,
            "scope": {"type": "workspace", "workspace_id": "wrkspc_1"},
        }

    @app.get("/v1/organizations/api_keys/{key}")
    async def retrieve(key: str, request: Request) -> Any:
        return stop(dict(request.headers), key) or shown(key)

    @app.post("/v1/organizations/api_keys/{key}")
    async def update(key: str, request: Request, content_type: Annotated[str, Header()] = "") -> Any:
        stopped = stop(dict(request.headers), key)
        if stopped:
            return stopped
        wanted = (await request.json()).get("status")
        if not content_type.startswith("application/json") or wanted not in {"active", "inactive", "archived"}:
            return error(400, "invalid_request_error", "status: must be active, inactive or archived")
        if keys[key] == "archived" and wanted != "archived":
            return error(400, "invalid_request_error", "archived API keys cannot be updated")
        keys[key] = wanted
        return shown(key)

    @app.get("/v1/models")
    async def models(request: Request) -> Any:
        """For callers. In the tests a key's value is `sk-ant-` and its id."""
        key = request.headers.get("x-api-key", "").removeprefix("sk-ant-")
        if not request.headers.get("anthropic-version") or keys.get(key) != "active":
            return error(401, "authentication_error", "invalid x-api-key")
        return {"data": [], "has_more": False, "first_id": None, "last_id": None}

    return Checked(app, anthropic())
