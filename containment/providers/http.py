"""One JSON call over HTTP, made once: what the providers without an official Python client share."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import httpx
from pydantic import SecretStr

from containment.providers.errors import Reason, Retryable, by_status
from containment.providers.redact import redact


class JsonApi:
    """An admin API that takes a bearer token and answers JSON objects.

    Args:
        base_url: What every path follows.
        secret: The token; kept out of what is said.
        timeout_s: For one call.
        headers: Sent with every call.
        bearer: False where the secret is not itself sent as a bearer token.
        ca_file: Certificates to trust instead of the public ones. ValueError when it cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        secret: SecretStr,
        *,
        timeout_s: float,
        headers: dict[str, str],
        bearer: bool = True,
        ca_file: str = "",
    ) -> None:
        self._secret = secret
        authorization = {"Authorization": f"Bearer {secret.get_secret_value()}"} if bearer else {}
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            timeout=timeout_s,
            follow_redirects=False,  # an admin key is not carried to wherever a redirect points
            headers={**authorization, **headers},
            verify=_trusting(ca_file) if ca_file else True,
        )

    async def call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        body: object = None,
        query: dict[str, str] | None = None,
        token: SecretStr | None = None,
        headers: Mapping[str, str] | None = None,
        hide: str = "",
    ) -> dict[str, Any]:
        """The answer's JSON object, empty for 204. Raises ProviderError for all else, in words that start with `doing`.

        `body` is sent as JSON; bytes as they are.
        `token`: for this call in place of the secret, where the secret is only what tokens are made of.
        `hide`: another secret that this call carries, never to be repeated from an answer.
        """
        secret = token or self._secret
        sent = {**(headers or {}), **({"Authorization": f"Bearer {token.get_secret_value()}"} if token else {})}
        as_is = body if isinstance(body, bytes) else None
        try:
            answer = await self._client.request(
                method, path, content=as_is, json=None if as_is else body, params=query, headers=sent
            )
        except httpx.TimeoutException:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})") from None
        if answer.status_code >= 300:
            said = redact(answer.text.replace(hide, "***") if hide else answer.text, secret)
            raise by_status(answer.status_code, doing, said, retry_after=answer.headers.get("retry-after"))
        if answer.status_code == 204:
            return {}
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not a JSON object")
        return value

    async def close(self) -> None:
        await self._client.aclose()


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also what is in the file is no certificate
        raise ValueError(f"ca_file {ca_file} cannot be used: {type(error).__name__}") from None
