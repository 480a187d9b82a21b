"""Vault by the community's Python client, in threads: each call made once, every foreign exception ended here."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import hvac
import requests
from hvac.adapters import RawAdapter
from pydantic import SecretStr

from containment.providers.errors import ProviderError, Reason, Retryable, by_status
from containment.providers.redact import redact

_BAD_TOKEN: Final = re.compile(r"(?:invalid|bad) token")


class VaultApi:
    """A client with a token, and what its answers mean.

    Args:
        secret: A token.
        base_url: Where Vault is, without `/v1`.
        timeout_s: For one call.
        ca_file: Certificates to trust instead of the public ones.
    """

    def __init__(self, secret: SecretStr, *, base_url: str, timeout_s: float, ca_file: str = "") -> None:
        self._secret = secret
        self.client = hvac.Client(
            url=base_url.rstrip("/"),
            token=secret.get_secret_value(),
            timeout=timeout_s,
            verify=ca_file or True,
            allow_redirects=False,  # a token is not carried to wherever a redirect points
            adapter=RawAdapter,  # hvac's own errors drop the status and Retry-After
            ignore_exceptions=True,
        )

    async def call(self, doing: str, call: Callable[[], requests.Response]) -> requests.Response:
        """Whatever Vault answers. Raises Retryable when it does not."""
        try:
            return await asyncio.to_thread(call)
        except requests.Timeout:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except (requests.RequestException, OSError) as exc:  # OSError: a file of certificates that is not there
            raise Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})") from None

    async def good(self, doing: str, answer: requests.Response) -> dict[str, Any]:
        """The `data` of an answer that is one."""
        if answer.status_code >= 300:
            raise await self.failed(doing, answer)
        whole = json_object(answer)
        data = whole.get("data", whole)  # the documentation shows it bare, Vault wraps it
        if not isinstance(data, dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not what Vault documents")
        return data

    async def failed(self, doing: str, answer: requests.Response) -> ProviderError:
        said = redact(answer.text, self._secret)
        status = answer.status_code
        if status == 403 and (_BAD_TOKEN.search(said) or await self._knows_no_such_token(doing)):
            status = 401  # Vault answers 403 for a token it does not know, too, and mostly in the same words
        return by_status(status, doing, said, retry_after=answer.headers.get("retry-after"))

    async def _knows_no_such_token(self, doing: str) -> bool:
        """Every token may look at itself, by the policy that all have unless somebody took it away."""
        answer = await self.call(doing, lambda: self.client.adapter.get("/v1/auth/token/lookup-self"))
        return answer.status_code == 403

    async def close(self) -> None:
        await asyncio.to_thread(self.client.adapter.close)


def json_object(answer: requests.Response) -> dict[str, Any]:
    """The answer's JSON object; empty where it is none."""
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
