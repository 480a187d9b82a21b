"""LiteLLM: the virtual keys of a proxy, page by page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field, SecretStr, ValidationError

from containment.inventories.base import PAGES_MOST, Listed
from containment.providers.errors import Reason, Retryable
from containment.providers.http import JsonApi
from containment.providers.litellm import addresses
from schemas.config.wiring import ProviderConfig

_DOING: Final = "list the keys"
_PAGE: Final = 100


class _Key(BaseModel):
    token: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]  # the hash; a key's value has no place here
    key_alias: str | None = None
    key_name: str | None = None
    team_alias: str | None = None
    team_id: str | None = None
    user_id: str | None = None
    blocked: bool | None = None
    created_at: datetime | None = None
    expires: datetime | None = None
    last_active: datetime | None = None


class _Page(BaseModel):
    keys: list[_Key]
    total_pages: Annotated[int, Field(ge=0, le=PAGES_MOST)]


class LiteLLMInventory:
    """`secret` is the master key or an admin's. All replicas share one database: the first is asked."""

    def __init__(self, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> None:
        self._api = JsonApi(addresses(config.base_url)[0], secret, timeout_s=timeout_s, headers={})

    async def listed(self) -> list[Listed]:
        found: dict[str, Listed] = {}
        number, pages = 1, 1
        while number <= pages:
            query = {"page": str(number), "size": str(_PAGE), "return_full_object": "true"}
            answer = await self._api.call("GET", "/key/list", _DOING, query=query)
            try:
                page = _Page.model_validate(answer)
            except ValidationError as error:
                raise Retryable(Reason.NONSENSE, f"{_DOING}: the answer is not a list of keys") from error
            found |= {key.token: _as_listed(key) for key in page.keys}
            number, pages = number + 1, page.total_pages
        return list(found.values())

    async def close(self) -> None:
        await self._api.close()


def _as_listed(key: _Key) -> Listed:
    return Listed(
        provider_ref=key.token, key_id=key.token, name=key.key_alias or "", place=key.team_alias or key.team_id or "",
        owner=key.user_id or "", active=not key.blocked, created_ms=_ms(key.created_at), expires_ms=_ms(key.expires),
        used_ms=_ms(key.last_active), hint=(key.key_name or "")[-4:],
    )  # fmt: skip


def _ms(at: datetime | None) -> int | None:
    """LiteLLM writes UTC without saying so."""
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000) if at else None
