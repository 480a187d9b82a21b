"""Leases as Vault documents them (`/sys/leases`), and answers of its own source where the page is silent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel


class Lookup(BaseModel, extra="forbid", strict=True):
    lease_id: str


class Revoke(BaseModel, extra="forbid", strict=True):
    lease_id: str
    sync: bool = False


class RevokePrefix(BaseModel, extra="forbid", strict=True):
    sync: bool = False


def create(  # noqa: C901 - one documented shape, read in one piece
    secret: str, leases: set[str], *, sudo: bool = True, stuck: frozenset[str] = frozenset(),
    names_the_fault: bool = True,
) -> FastAPI:  # fmt: skip
    """`leases`: ids. `sudo`: what paths need. `stuck`: leases whose engine fails to delete the key.

    `names_the_fault`: says of a wrong token that it is one; OpenBao, and Vault at times, deny it like a right one.

    Without `sync` a revocation is only queued: here it never gets its turn, so that asking for it fails a test.
    """
    app = FastAPI()

    def error(status: int, *words: str) -> JSONResponse:
        return JSONResponse({"errors": list(words)}, status)

    def denied(request: Request, token: str, *, needs_sudo: bool = False) -> JSONResponse | None:
        if request.headers.get("x-vault-request") != "true":
            return error(412, "required request header is not set")
        if token != secret:
            said = f"2 errors occurred:\n\t* permission denied\n\t* invalid token {token}\n\n"
            return error(403, said if names_the_fault else "permission denied")
        return error(403, "1 error occurred:\n\t* permission denied\n\n") if needs_sudo and not sudo else None

    def revoke_all(wanted: list[str], *, sync: bool) -> Response:
        for lease in wanted:
            if sync and lease in stuck:
                return error(400, f'failed to revoke "{lease}": failed to revoke entry: provider unreachable')
            if sync:
                leases.discard(lease)
        return Response(status_code=204)  # also for a lease nobody knows

    @app.get("/v1/auth/token/lookup-self")
    async def own(request: Request, x_vault_token: Annotated[str, Header()] = "") -> Any:
        return denied(request, x_vault_token) or {"data": {"id": x_vault_token}}

    @app.api_route("/v1/sys/leases/lookup", methods=["POST", "PUT"])
    async def lookup(data: Lookup, request: Request, x_vault_token: Annotated[str, Header()] = "") -> Any:
        stopped = denied(request, x_vault_token)
        if stopped:
            return stopped
        if data.lease_id not in leases:
            return error(400, "invalid lease")
        times = {"issue_time": "2026-10-30T10:18:11.228946471Z", "expire_time": "2026-10-30T11:18:11.228946708Z"}
        path = data.lease_id.rpartition("/")[0]  # OpenBao shows it, Vault's page does not
        shown = {"id": data.lease_id, "path": path, **times, "last_renewal": None, "renewable": True, "ttl": 3558}
        return {"request_id": "r", "lease_id": "", "renewable": False, "lease_duration": 0, "data": shown}

    @app.api_route("/v1/sys/leases/lookup/{prefix:path}", methods=["LIST"])
    async def below(prefix: str, request: Request, x_vault_token: Annotated[str, Header()] = "") -> Any:
        stopped = denied(request, x_vault_token, needs_sudo=True)
        if stopped:
            return stopped
        start = prefix.rstrip("/") + "/"
        rest = [lease.removeprefix(start) for lease in leases if lease.startswith(start)]
        keys = sorted({name if "/" not in name else name.split("/")[0] + "/" for name in rest})
        return {"request_id": "r", "data": {"keys": keys}} if keys else error(404)

    @app.api_route("/v1/sys/leases/revoke", methods=["POST", "PUT"])
    async def revoke(data: Revoke, request: Request, x_vault_token: Annotated[str, Header()] = "") -> Any:
        return denied(request, x_vault_token) or revoke_all([data.lease_id], sync=data.sync)

    @app.api_route("/v1/sys/leases/revoke-prefix/{prefix:path}", methods=["POST", "PUT"])
    async def revoke_prefix(
        prefix: str, data: RevokePrefix, request: Request, x_vault_token: Annotated[str, Header()] = ""
    ) -> Any:
        stopped = denied(request, x_vault_token, needs_sudo=True)
        start = prefix.rstrip("/") + "/"
        wanted = sorted(lease for lease in leases if lease == prefix or lease.startswith(start))
        return stopped or revoke_all(wanted, sync=data.sync)

    return app
