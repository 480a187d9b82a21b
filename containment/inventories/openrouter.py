"""OpenRouter: the keys that a management key sees, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, ValidationError

from containment.inventories.base import PAGES_MOST, Listed
from containment.providers.errors import Reason, Retryable
from containment.providers.http import JsonApi
from containment.providers.openrouter import BASE_URL
from schemas.config.wiring import ProviderConfig

_DOING: Final = "list the keys"


class _Key(BaseModel):
    hash: Annotated[str, Field(min_length=1)]
    name: str = ""
    label: str = ""
    disabled: bool = False
    workspace_id: str | None = None
    creator_user_id: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


class _Page(BaseModel):
    data: list[_Key]


class OpenRouterInventory:
    """`secret` is a management key."""

    def __init__(self, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> None:
        self._api = JsonApi(config.base_url or BASE_URL, secret, timeout_s=timeout_s, headers={})

    async def listed(self) -> list[Listed]:
        found: dict[str, Listed] = {}
        for _ in range(PAGES_MOST):
            query = {"offset": str(len(found)), "include_disabled": "true"}
            answer = await self._api.call("GET", "/keys", _DOING, query=query)
            try:
                page = [_as_listed(key) for key in _Page.model_validate(answer).data]
            except ValidationError as error:
                raise Retryable(Reason.NONSENSE, f"{_DOING}: the answer is not a list of keys") from error
            fresh = {key.provider_ref: key for key in page if key.provider_ref not in found}
            if not fresh:
                return list(found.values())
            found |= fresh
        raise Retryable(Reason.NONSENSE, f"{_DOING}: the list does not end")

    async def close(self) -> None:
        await self._api.close()


def _as_listed(key: _Key) -> Listed:
    return Listed(
        provider_ref=key.hash, key_id=key.hash, name=key.name, place=key.workspace_id or "",
        owner=key.creator_user_id or "", active=not key.disabled, created_ms=_ms(key.created_at),
        expires_ms=_ms(key.expires_at), used_ms=_ms(key.last_used_at), hint=key.label[-4:],
    )  # fmt: skip


def _ms(at: datetime | None) -> int | None:
    return round(at.timestamp() * 1000) if at else None
