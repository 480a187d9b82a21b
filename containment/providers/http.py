"""One JSON call over HTTP, made once: what the providers without an official Python client share."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import SecretStr

from containment.providers.errors import Reason, Retryable, by_status
from containment.providers.redact import redact


class JsonApi:
    """An admin API that takes a bearer token and answers JSON objects."""

    def __init__(self, base_url: str, secret: SecretStr, *, timeout_s: float, headers: dict[str, str]) -> None:
        self._secret = secret
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            timeout=timeout_s,
            follow_redirects=False,  # an admin key is not carried to wherever a redirect points
            headers={"Authorization": f"Bearer {secret.get_secret_value()}", **headers},
        )

    async def call(
        self, method: str, path: str, doing: str, *, body: object = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's JSON object. Raises ProviderError for everything else, in words that start with `doing`."""
        try:
            answer = await self._client.request(method, path, json=body, params=query)
        except httpx.TimeoutException:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})") from None
        if answer.status_code >= 300:
            said = redact(answer.text, self._secret)
            raise by_status(answer.status_code, doing, said, retry_after=answer.headers.get("retry-after"))
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not a JSON object")
        return value

    async def close(self) -> None:
        await self._client.aclose()
