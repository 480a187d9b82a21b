"""Vault's KV version 2 as its page documents it: versions, check-and-set, and what a deleted version looks like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

Versions = list[dict[str, Any] | None]  # the first is version 1; None: deleted


class Options(BaseModel, extra="forbid", strict=True):
    cas: int


class Write(BaseModel, extra="forbid", strict=True):
    """Without `cas` it is refused, as by a mount with `cas_required`."""

    options: Options
    data: dict[str, Any]


@dataclass
class Store:
    """One mount: path -> its versions."""

    secrets: dict[str, Versions]
    readable: set[str] = field(default_factory=set)  # empty: all

    def now(self, path: str) -> dict[str, Any] | None:
        return self.secrets[path][-1]


def create(token: str, store: Store, *, mount: str = "secret") -> FastAPI:  # noqa: C901 - one documented shape
    app = FastAPI()

    def error(status: int, *words: str) -> JSONResponse:
        return JSONResponse({"errors": list(words)}, status)

    def denied(request: Request, given: str, path: str) -> JSONResponse | None:
        if request.headers.get("x-vault-request") != "true":
            return error(412, "required request header is not set")
        if given != token:
            return error(403, f"2 errors occurred:\n\t* permission denied\n\t* invalid token {given}\n\n")
        if store.readable and path not in store.readable:
            return error(403, "1 error occurred:\n\t* permission denied\n\n")
        return None

    def metadata(version: int, *, deleted: bool = False) -> dict[str, Any]:
        gone = "2026-11-23T10:00:00.123Z" if deleted else ""
        made = "2026-10-30T10:18:11.228946471Z"
        return {
            "created_time": made, "custom_metadata": None, "deletion_time": gone, "destroyed": False, "version": version
        }  # fmt: skip

    @app.get(f"/v1/{mount}/data/{{path:path}}")
    async def read(path: str, request: Request, version: int = 0, x_vault_token: Annotated[str, Header()] = "") -> Any:
        stopped = denied(request, x_vault_token, path)
        if stopped:
            return stopped
        versions = store.secrets.get(path, [])
        number = version or len(versions)
        if not 1 <= number <= len(versions):
            return error(404)
        data = versions[number - 1]
        body = {"request_id": "r", "data": {"data": data, "metadata": metadata(number, deleted=data is None)}}
        return JSONResponse(body, 404 if data is None else 200)

    @app.api_route(f"/v1/{mount}/data/{{path:path}}", methods=["POST", "PUT"])
    async def write(path: str, sent: Write, request: Request, x_vault_token: Annotated[str, Header()] = "") -> Any:
        stopped = denied(request, x_vault_token, path)
        if stopped:
            return stopped
        versions = store.secrets.setdefault(path, [])
        if sent.options.cas != len(versions):
            return error(400, "check-and-set parameter did not match the current version")
        versions.append(sent.data)
        return {"request_id": "r", "data": metadata(len(versions))}

    return app
