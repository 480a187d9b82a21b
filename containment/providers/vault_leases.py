"""Vault's calls on leases, each made once, by the community's Python client in threads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import hvac
import requests
from hvac.adapters import RawAdapter
from pydantic import SecretStr

from containment.providers.errors import ProviderError, Reason, Retryable, by_status
from containment.providers.redact import redact

_GONE: Final = "invalid lease"  # what lookup says, with 400, of a lease that is not there
_BAD_TOKEN: Final = re.compile(r"(?:invalid|bad) token")


class Leases:
    """`/sys/leases`.

    Args:
        secret: A token.
        base_url: Where Vault is, without `/v1`.
        timeout_s: For one call.
    """

    def __init__(self, secret: SecretStr, *, base_url: str, timeout_s: float) -> None:
        self._secret = secret
        self._client = hvac.Client(
            url=base_url.rstrip("/"),
            token=secret.get_secret_value(),
            timeout=timeout_s,
            allow_redirects=False,  # a token is not carried to wherever a redirect points
            adapter=RawAdapter,  # hvac's own errors drop the status and Retry-After
            ignore_exceptions=True,
        )

    async def expires(self, lease: str) -> str | None:
        """When a lease ends ("never" is possible); None when Vault holds no such lease."""
        doing = f"read {lease}"
        answer = await self._call(doing, lambda: self._client.sys.read_lease(lease))
        if answer.status_code == 400 and _GONE in (_object(answer).get("errors") or ()):
            return None
        data = await self._good(doing, answer)
        ends = data.get("expire_time", ...)
        if data.get("id") != lease or not isinstance(ends, str | None):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not this lease")
        return ends or "never"

    async def below(self, path: str) -> int:
        """How many leases and paths with leases lie right under a path."""
        doing = f"read what is under {path}"
        answer = await self._call(doing, lambda: self._client.sys.list_leases(path))
        # None is 404 with an empty list of errors; a path that Vault does not serve is 404 with words.
        if answer.status_code == 404 and _object(answer).get("errors") == []:
            return 0
        keys = (await self._good(doing, answer)).get("keys")
        if not isinstance(keys, list):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not a list of leases")
        return len(keys)

    async def revoke(self, lease: str) -> None:
        """Returns when the engine has deleted the key. Vault says the same of a lease it does not hold."""
        await self._change(f"revoke {lease}", "revoke", {"lease_id": lease})

    async def revoke_below(self, path: str) -> None:
        await self._change(f"revoke what is under {path}", f"revoke-prefix/{quote(path)}", {})

    async def close(self) -> None:
        await asyncio.to_thread(self._client.adapter.close)

    async def _change(self, doing: str, what: str, body: dict[str, Any]) -> None:
        # The client's own calls cannot ask for `sync`; without it a revocation is only queued.
        path, asked = f"/v1/sys/leases/{what}", {**body, "sync": True}
        answer = await self._call(doing, lambda: self._client.adapter.post(path, json=asked))
        if answer.status_code >= 300:
            raise await self._failed(doing, answer)

    async def _call(self, doing: str, call: Callable[[], requests.Response]) -> requests.Response:
        try:
            return await asyncio.to_thread(call)
        except requests.Timeout:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except requests.RequestException as exc:
            raise Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})") from None

    async def _good(self, doing: str, answer: requests.Response) -> dict[str, Any]:
        """The `data` of an answer that is one."""
        if answer.status_code >= 300:
            raise await self._failed(doing, answer)
        whole = _object(answer)
        data = whole.get("data", whole)  # the documentation shows it bare, Vault wraps it
        if not isinstance(data, dict):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not what Vault documents")
        return data

    async def _failed(self, doing: str, answer: requests.Response) -> ProviderError:
        said = redact(answer.text, self._secret)
        status = answer.status_code
        if status == 403 and (_BAD_TOKEN.search(said) or await self._knows_no_such_token(doing)):
            status = 401  # Vault answers 403 for a token it does not know, too, and mostly in the same words
        return by_status(status, doing, said, retry_after=answer.headers.get("retry-after"))

    async def _knows_no_such_token(self, doing: str) -> bool:
        """Every token may look at itself, by the policy that all have unless somebody took it away."""
        answer = await self._call(doing, lambda: self._client.adapter.get("/v1/auth/token/lookup-self"))
        return answer.status_code == 403


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
