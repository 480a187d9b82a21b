"""Key management as the LiteLLM proxy documents it, and the caches of its replicas as its source has them.

All replicas share a database. Each answers callers from what it has cached of a key, for a minute, and every served
call begins that minute anew: a busy caller keeps an old entry alive (BerriAI/litellm issues 9820 and 25553).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tests.containment.published.checked import Checked
from tests.containment.published.files import published

KEY = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
_VALID = re.compile(r"sk-[\w-]+|[0-9a-fA-F]{64}", re.ASCII)  # its `is_valid_api_key`


class BlockKeyRequest(BaseModel, extra="forbid", strict=True):
    key: str


class UpdateKeyRequest(BaseModel, extra="forbid", strict=True):
    key: str
    rpm_limit: int | None = None
    tpm_limit: int | None = None


class DeleteKeyRequest(BaseModel, extra="forbid", strict=True):
    keys: list[str]


@dataclass
class Row:
    """One virtual key in the database."""

    blocked: bool | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None


@dataclass
class Gateway:
    """The database that the replicas share."""

    secret: str
    rows: dict[str, Row]
    unknown_status: int = 404  # older versions answer 401 when asked to block a key they do not know

    def replica(self) -> Checked:  # noqa: C901 - one documented shape, read in one piece
        """One more proxy, with a cache of its own."""
        app, cache = FastAPI(), dict[str, Row]()

        def denied(authorization: str) -> JSONResponse | None:
            if authorization == f"Bearer {self.secret}":
                return None
            token = authorization.removeprefix("Bearer ")
            return error(401, f"Authentication Error, Invalid proxy server token passed. Received API Key = {token}")

        def switch(key: str, authorization: str, *, blocked: bool) -> Any:
            stopped = denied(authorization)
            if stopped:
                return stopped
            if not _VALID.fullmatch(key):
                return error(400, "Invalid key format.")
            if key not in self.rows:
                return error(self.unknown_status, "Key not found.")
            self.rows[key].blocked = blocked
            cache[key] = replace(cache.get(key, self.rows[key]), blocked=blocked)
            return {"token": key, "blocked": blocked, "key_alias": "checkout"}

        @app.post("/key/block")
        async def block(data: BlockKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
            return switch(data.key, authorization, blocked=True)

        @app.post("/key/unblock")
        async def unblock(data: BlockKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
            return switch(data.key, authorization, blocked=False)

        @app.post("/key/update")
        async def update(data: UpdateKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
            stopped = denied(authorization)
            if stopped:
                return stopped
            if data.key not in self.rows:
                return error(404, "{'error': 'Team not found, passed team_id=None'}")  # its words, for an unknown key
            sent = data.model_dump(exclude_unset=True, exclude={"key"})
            self.rows[data.key] = replace(self.rows[data.key], **sent)  # null removes a limit
            cache.pop(data.key, None)
            return {"key": data.key, **sent}

        @app.post("/key/delete")
        async def delete(data: DeleteKeyRequest, authorization: Annotated[str, Header()] = "") -> Any:
            stopped = denied(authorization)
            if stopped:
                return stopped
            known = [key for key in data.keys if key in self.rows]
            if not known:
                return error(404, "{'error': 'No keys found'}")  # and the cache keeps what it has
            for key in known:
                del self.rows[key]
                cache.pop(key, None)
            return {"deleted_keys": data.keys}

        @app.get("/key/info")
        async def info(key: str, authorization: Annotated[str, Header()] = "") -> Any:
            stopped = denied(authorization)
            if stopped:
                return stopped
            if key not in self.rows:
                return error(404, "Key not found in database")
            row = self.rows[key]
            shown = {"blocked": row.blocked, "rpm_limit": row.rpm_limit, "tpm_limit": row.tpm_limit}
            return {"key": key, "info": {"key_alias": "checkout", "spend": 1.5, **shown}}

        def served(authorization: str, answer: dict[str, Any]) -> Any:
            """In the tests a key's value is `sk-` and its hash."""
            key = authorization.removeprefix("Bearer sk-")
            row = cache.get(key) or self.rows.get(key)
            if row is None or row.blocked:
                return error(401, "Authentication Error, Key is blocked.")
            cache[key] = replace(row)
            return answer

        @app.post("/v1/chat/completions")
        async def call(authorization: Annotated[str, Header()] = "") -> Any:
            return served(authorization, {"choices": []})

        @app.get("/v1/models")
        async def models(authorization: Annotated[str, Header()] = "") -> Any:
            return served(authorization, {"data": [], "object": "list"})

        return Checked(app, published("litellm"), callers=frozenset({"/v1/chat/completions"}))


def error(status: int, message: str) -> JSONResponse:
    detail = {"message": message, "type": "auth_error", "param": "key", "code": str(status)}
    return JSONResponse({"error": detail}, status)


def create(secret: str, keys: dict[str, bool | None], *, unknown_status: int = 404) -> Checked:
    """A gateway of one replica. `keys`: hash -> blocked (null: never was)."""
    return Gateway(secret, {key: Row(blocked) for key, blocked in keys.items()}, unknown_status).replica()
