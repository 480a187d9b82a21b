"""Key management as the LiteLLM proxy documents it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel


class BlockKeyRequest(BaseModel):
    key: str


def create(secret: str, keys: dict[str, bool | None], *, unknown_status: int = 404) -> FastAPI:  # noqa: C901 - one documented shape, read in one piece
    """`keys`: hash -> blocked (null: never was). Older versions answer 401 when asked to block an unknown key."""
    app = FastAPI()

    def error(status: int, message: str) -> JSONResponse:
        detail = {"message": message, "type": "auth_error", "param": "key", "code": str(status)}
        return JSONResponse({"error": detail}, status)

    def denied(authorization: str) -> JSONResponse | None:
        if authorization == f"Bearer {secret}":
            return None
        token = authorization.removeprefix("Bearer ")
        return error(401, f"Authentication Error, Invalid proxy server token passed. Received API Key = {token}")

    def change(key: str, authorization: str, *, blocked: bool) -> Any:
        stopped = denied(authorization)
        if stopped:
            return stopped
        if key not in keys:
            return error(unknown_status, "Authentication Error, Invalid proxy server token passed.")
        keys[key] = blocked
        return {"token": key, "blocked": blocked, "key_alias": "checkout"}

    @app.post("/key/block")
    async def block(data: BlockKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
        return change(data.key, authorization, blocked=True)

    @app.post("/key/unblock")
    async def unblock(data: BlockKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
        return change(data.key, authorization, blocked=False)

    @app.get("/key/info")
    async def info(key: str, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = denied(authorization)
        if stopped:
            return stopped
        if key not in keys:
            return error(404, "Key not found in database")
        return {"key": key, "info": {"key_alias": "checkout", "spend": 1.5, "blocked": keys[key]}}

    return app
