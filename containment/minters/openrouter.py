"""OpenRouter: a key that OpenRouter itself holds to an amount a day, and ends."""

from __future__ import annotations

from typing import Any, Final

from pydantic import SecretStr

from containment.minters.base import Made, Wanted
from containment.providers.errors import Reason, Retryable
from containment.providers.http import JsonApi
from schemas.records import rfc3339

_BASE_URL: Final = "https://openrouter.ai/api/v1"


class OpenRouterMinter:
    """The keys API; `secret` is a management key."""

    def __init__(self, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self._api = JsonApi(base_url or _BASE_URL, secret, timeout_s=timeout_s, headers={})

    async def mint(self, wanted: Wanted) -> Made:
        body: dict[str, Any] = {"name": wanted.name}
        if wanted.usd_per_day is not None:
            body |= {"limit": wanted.usd_per_day, "limit_reset": "daily"}
        if wanted.expires_ms is not None:
            body["expires_at"] = rfc3339(wanted.expires_ms)
        doing = f"make the key {wanted.name}"
        answer = await self._api.call("POST", "/keys", doing, body=body)
        secret, ref = answer.get("key"), (answer.get("data") or {}).get("hash")
        if not isinstance(secret, str) or not secret or not isinstance(ref, str):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no key")
        return Made(SecretStr(secret), ref, SecretStr(secret))

    async def discard(self, wanted: Wanted) -> str:
        found, offset = list[str](), 0
        while True:
            answer = await self._api.call(
                "GET", "/keys", f"look for the key {wanted.name}", query={"offset": str(offset)}
            )
            rows = answer.get("data")
            if not isinstance(rows, list):
                raise Retryable(Reason.NONSENSE, f"look for the key {wanted.name}: the answer is no list")
            found += [row["hash"] for row in rows if row.get("name") == wanted.name]
            if not rows:
                break
            offset += len(rows)
        for ref in found:
            await self._api.call("DELETE", f"/keys/{ref}", f"delete {ref}")
        return f"{len(found)} keys deleted"

    async def close(self) -> None:
        await self._api.close()
