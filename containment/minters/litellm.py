"""LiteLLM: a virtual key that the proxy holds to an amount a day, and ends. Its alias is the name."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import SecretStr

from containment.minters.base import Made, Wanted
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi


class LiteLLMMinter:
    """The proxy's key management; `secret` is the master key or an admin's. Any replica will do: they share a store."""

    def __init__(self, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        first = base_url.partition(",")[0].strip()
        self._api = JsonApi(first, secret, timeout_s=timeout_s, headers={"litellm-changed-by": "keyfuse"})

    async def mint(self, wanted: Wanted) -> Made:
        body: dict[str, Any] = {"key_alias": wanted.name}
        if wanted.place:
            body["team_id"] = wanted.place
        if wanted.usd_per_day is not None:
            body |= {"max_budget": wanted.usd_per_day, "budget_duration": "1d"}
        if wanted.expires_s is not None:
            body["duration"] = f"{wanted.expires_s}s"
        doing = f"make the key {wanted.name}"
        secret = (await self._api.call("POST", "/key/generate", doing, body=body)).get("key")
        if not isinstance(secret, str) or not secret:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no key")
        # What LiteLLM calls its keys everywhere else.
        return Made(SecretStr(secret), hashlib.sha256(secret.encode()).hexdigest(), SecretStr(secret))

    async def discard(self, wanted: Wanted) -> str:
        try:
            await self._api.call(
                "POST", "/key/delete", f"delete the key {wanted.name}", body={"key_aliases": [wanted.name]}
            )
        except Refused as refused:
            if refused.reason is not Reason.UNKNOWN_KEY:
                raise
            return "0 keys deleted"
        return "1 key deleted"

    async def close(self) -> None:
        await self._api.close()
