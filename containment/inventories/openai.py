"""OpenAI: the keys of every project, by the official client's admin resources."""

from __future__ import annotations

import openai
from openai.types.admin.organization import Project
from openai.types.admin.organization.projects import ProjectAPIKey
from pydantic import SecretStr

from containment.inventories.base import Listed, all_pages
from containment.providers.openai import BASE_URL
from containment.providers.sdk_errors import SdkCalls
from schemas.config.wiring import ProviderConfig


class OpenAIInventory:
    """`secret` is an admin key (`sk-admin-...`)."""

    def __init__(self, config: ProviderConfig, secret: SecretStr, *, timeout_s: float) -> None:
        self._calls = SdkCalls(openai, openai.OpenAIError, secret)
        self._client = openai.AsyncOpenAI(
            admin_api_key=secret.get_secret_value(), base_url=config.base_url or BASE_URL,
            timeout=timeout_s, max_retries=2,
        )  # fmt: skip

    async def listed(self) -> list[Listed]:
        return [key for project in await self._projects() for key in await self._keys(project)]

    async def _projects(self) -> list[Project]:
        doing = "list the projects"
        pages = self._client.admin.organization.projects.list(limit=100)
        return await self._calls.make(doing, all_pages(pages, doing))

    async def _keys(self, project: Project) -> list[Listed]:
        async def read() -> list[Listed]:
            keys = self._client.admin.organization.projects.api_keys
            pages = keys.list(project.id, limit=100, owner_project_access="any")
            return [_as_listed(project, key) for key in await all_pages(pages, doing)]

        doing = f"list the keys of {project.id}"
        return await self._calls.make(doing, read())

    async def close(self) -> None:
        await self._client.close()


def _as_listed(project: Project, key: ProjectAPIKey) -> Listed:
    user, account = key.owner.user, key.owner.service_account
    return Listed(
        provider_ref=f"{project.id}/{key.id}", key_id=key.id, name=key.name, place=project.name or project.id,
        owner=user.email if user else account.name if account else "", active=key.owner_project_access == "active",
        created_ms=key.created_at * 1000, expires_ms=key.expires_at * 1000 if key.expires_at else None,
        used_ms=key.last_used_at * 1000 if key.last_used_at else None, hint=key.redacted_value[-4:],
    )  # fmt: skip
