"""OpenAI: a service account of its own in a project (`place`), with one key, which ends by itself if that is asked.

OpenAI holds no single key to an amount: the gate and the project's budget do.
"""

from __future__ import annotations

import re
from typing import Final

import openai
from pydantic import SecretStr

from containment.minters.base import Made, Wanted
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.sdk_errors import SdkCalls

_BASE_URL: Final = "https://api.openai.com/v1"
_PROJECT: Final = re.compile(r"proj_[\w-]+")


class OpenAIMinter:
    """The official client's admin resources; `secret` is an admin key."""

    def __init__(self, secret: SecretStr, *, base_url: str = "", timeout_s: float = 10) -> None:
        self._calls = SdkCalls(openai, openai.OpenAIError, secret)
        self._client = openai.AsyncOpenAI(
            admin_api_key=secret.get_secret_value(), base_url=base_url or _BASE_URL, timeout=timeout_s, max_retries=0
        )
        self._accounts = self._client.admin.organization.projects.service_accounts

    async def mint(self, wanted: Wanted) -> Made:
        project, doing = _project(wanted), f"make the service account {wanted.name}"
        expires_s = openai.omit if wanted.expires_s is None else wanted.expires_s
        made = await self._calls.make(
            doing, self._accounts.create(project, name=wanted.name, expires_in_seconds=expires_s)
        )
        if made.api_key is None or not made.api_key.value or not made.id:
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer has no key")
        secret = SecretStr(made.api_key.value)
        return Made(secret, f"{project}/sa/{made.id}", secret)

    async def discard(self, wanted: Wanted) -> str:
        project, found = _project(wanted), list[str]()
        doing = f"look for the service account {wanted.name}"
        after: str | None = None
        while True:
            start = openai.omit if after is None else after
            page = await self._calls.make(doing, self._accounts.list(project, limit=100, after=start))
            found += [account.id for account in page.data if account.name == wanted.name]
            if not page.has_more or not page.data:
                break
            after = page.data[-1].id
        for account in found:
            await self._calls.make(f"delete {account}", self._accounts.delete(account, project_id=project))
        return f"{len(found)} service accounts deleted"

    async def close(self) -> None:
        await self._client.close()


def _project(wanted: Wanted) -> str:
    if not _PROJECT.fullmatch(wanted.place):
        raise Refused(Reason.BAD_REF, f"{wanted.place[:60] or 'nothing'} is no project of OpenAI: proj_...")
    return wanted.place
