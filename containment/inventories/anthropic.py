"""Anthropic: the keys of the organisation, by the official client's organization resources."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import anthropic
from anthropic.types.organization import APIKey
from pydantic import SecretStr

from containment.inventories.base import Listed, all_pages
from containment.providers.anthropic import BASE_URL
from containment.providers.sdk_errors import SdkCalls
from schemas.config.wiring import ProviderConfig

_DOING: Final = "list the keys"


class AnthropicInventory:
    """`secret` is an admin key (`sk-ant-admin...`)."""

    def __init__(self, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> None:
        self._calls = SdkCalls(anthropic, anthropic.AnthropicError, secret)
        self._client = anthropic.AsyncAnthropic(
            api_key=secret.get_secret_value(), base_url=config.base_url or BASE_URL, timeout=timeout_s, max_retries=2
        )

    async def listed(self) -> list[Listed]:
        async def read() -> list[Listed]:
            rows = await all_pages(self._client.organization.api_keys.list(limit=1000), _DOING)
            return [_as_listed(key) for key in rows if key.status != "archived"]

        return await self._calls.make(_DOING, read())

    async def close(self) -> None:
        await self._client.close()


def _as_listed(key: APIKey) -> Listed:
    return Listed(
        provider_ref=key.id, key_id=key.id, name=key.name, place=getattr(key.scope, "workspace_id", None) or "",
        owner=key.created_by.id if key.created_by else "", active=key.status == "active",
        created_ms=_ms(key.created_at), expires_ms=_ms(key.expires_at), hint=(key.partial_key_hint or "")[-4:],
    )  # fmt: skip


def _ms(at: datetime | None) -> int | None:
    return round(at.timestamp() * 1000) if at else None
