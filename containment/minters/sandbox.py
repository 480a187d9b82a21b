"""The sandbox that ships with Keyfuse: takes any secret it is told."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from containment.minters.base import Made, Wanted
from containment.providers.http import JsonApi


class SandboxMinter:
    """Its admin API. The name is the key_id there, so the same name is the same key."""

    def __init__(self, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self._api = JsonApi(base_url, secret, timeout_s=timeout_s, headers={})

    async def mint(self, wanted: Wanted) -> Made:
        secret = f"sk-sandbox-{secrets.token_urlsafe(32)}"
        body = {"key_id": wanted.name, "secret": secret}
        await self._api.call("POST", "/admin/keys", f"make the key {wanted.name}", body=body, hide=secret)
        return Made(SecretStr(secret), wanted.name, SecretStr(secret))

    async def discard(self, wanted: Wanted) -> str:
        return f"nothing: {wanted.name} is the same key, and its next secret another"

    async def close(self) -> None:
        await self._api.close()
