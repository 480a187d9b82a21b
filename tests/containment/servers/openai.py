"""Project API keys as OpenAI documents them (Admin API, projects/api_keys)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse

PROJECT = "proj_shop"


def create(secret: str, keys: set[str], *, service_account_keys: frozenset[str] = frozenset()) -> FastAPI:
    """`service_account_keys` cannot be deleted, as was documented until 2026; the others can."""
    app = FastAPI()
    path = "/v1/organization/projects/{project}/api_keys/{key}"

    def error(status: int, message: str) -> JSONResponse:
        detail = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": detail}, status)

    def stop(authorization: str, project: str, key: str) -> JSONResponse | None:
        if authorization != f"Bearer {secret}":
            # The real one quotes the key back half masked; this one is nastier.
            return error(401, f"Incorrect API key provided: {authorization.removeprefix('Bearer ')}.")
        return None if project == PROJECT and key in keys else error(404, f"No such key: {key}")

    @app.get(path)
    async def retrieve(project: str, key: str, authorization: Annotated[str, Header()] = "") -> Any:
        owner = {
            "type": "user",
            "user": {"id": "user_1", "name": "Ann", "email": "ann@example.com", "role": "owner", "created_at": 1},
        }
        return stop(authorization, project, key) or {
            "object": "organization.project.api_key",
            "id": key,
            "name": "checkout",
            "redacted_value": "sk-abc...def",
            "created_at": 1711471533,
            "last_used_at": 1711471534,
            "owner": owner,
            "owner_project_access": "active",
        }

    @app.delete(path)
    async def delete(project: str, key: str, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(authorization, project, key)
        if stopped:
            return stopped
        if key in service_account_keys:
            return error(400, "API keys owned by a service account cannot be deleted here.")
        keys.discard(key)
        return {"object": "organization.project.api_key.deleted", "id": key, "deleted": True}

    return app
