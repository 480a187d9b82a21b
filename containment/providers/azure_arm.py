"""Azure Resource Manager's calls on an AI account, made once each. Keys are hashed where they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, DecodeError, HttpResponseError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, ContentDecodePolicy
from azure.mgmt.cognitiveservices.aio import CognitiveServicesManagementClient
from azure.mgmt.cognitiveservices.models import Account, AccountProperties, ApiKeys
from pydantic import SecretStr

from containment.providers.azure import At, Slot
from containment.providers.errors import ProviderError, Reason, Refused, Retryable, by_status
from containment.providers.redact import redact

T = TypeVar("T")
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SWITCHED_OFF: Final = "disableLocalAuth"  # in what Azure says when it does not list keys for that reason


class KeyAccess(NamedTuple):
    """Whether callers may use keys at all, and whether Azure has finished with the account."""

    off: bool
    state: str  # "Succeeded" when nothing is going on


class Accounts:
    """The official management client, without its retries, redirects and logging.

    Args:
        secret: What must never be shown of the credential.
        credential: Gives tokens for Azure Resource Manager.
        base_url: Where that is.
        timeout_s: For one call, the token included.
    """

    def __init__(self, secret: SecretStr, credential: AsyncTokenCredential, *, base_url: str, timeout_s: float) -> None:
        self._secret = secret
        self._credential = credential
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        # A token goes over plain HTTP to this very machine at most, where tests are.
        self._https = urlsplit(self._base_url).hostname not in _LOCAL
        self._clients: dict[str, CognitiveServicesManagementClient] = {}

    async def key_access(self, at: At) -> KeyAccess:
        doing = f"read {at.words()}"
        accounts = self._client(at).accounts
        account = await self._call(doing, accounts.get(at.group, at.account, enforce_https=self._https))
        properties = getattr(account, "properties", None)
        state = getattr(properties, "provisioning_state", None)
        if not isinstance(state, str):
            raise Retryable(Reason.NONSENSE, f"{doing}: the answer is not an account")
        return KeyAccess(getattr(properties, "disable_local_auth", None) is True, state[:40])  # absent: not off

    async def switch(self, at: At, *, off: bool) -> None:
        """Key access off or on, for both keys. Azure goes on with it after it has answered."""
        change = Account(properties=AccountProperties(disable_local_auth=off))
        accounts = self._client(at).accounts
        call = accounts.begin_update(at.group, at.account, change, polling=False, enforce_https=self._https)
        await self._call(f"switch key access {'off' if off else 'on'} for {at.words()}", call)

    async def hashes(self, at: At) -> dict[Slot, str] | None:
        """Each key's SHA-256 in hex; None while key access is switched off."""
        doing = f"list the keys of {at.words()}"
        accounts = self._client(at).accounts
        try:
            keys = await self._call(doing, accounts.list_keys(at.group, at.account, enforce_https=self._https))
        except Refused as refused:
            if refused.reason is Reason.REJECTED and _SWITCHED_OFF in str(refused):
                return None
            raise
        return _hashed(doing, keys)

    async def regenerate(self, at: At, slot: Slot) -> None:
        """A new value for one key. The answer, which holds both, is dropped."""
        accounts = self._client(at).accounts
        call = accounts.regenerate_key(at.group, at.account, slot, enforce_https=self._https)
        await self._call(f"regenerate {slot} of {at.words()}", call)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        await self._credential.close()

    def _client(self, at: At) -> CognitiveServicesManagementClient:
        if at.subscription not in self._clients:
            authentication = AsyncBearerTokenCredentialPolicy(self._credential, f"{self._base_url}/.default")
            self._clients[at.subscription] = CognitiveServicesManagementClient(
                self._credential,
                at.subscription,
                self._base_url,
                # Only these: the executor counts the tries, a token follows no redirect, and no key is logged.
                policies=[ContentDecodePolicy(), authentication],
            )
        return self._clients[at.subscription]

    async def _call(self, doing: str, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except TimeoutError:
            raise Retryable(Reason.TIMEOUT, f"{doing}: no answer in time") from None
        except (AzureError, ValueError, TypeError, AttributeError) as exc:
            # The client builds its models from whatever came; another shape surfaces as one of the last three.
            raise self._ours(doing, exc) from None

    def _ours(self, doing: str, exc: Exception) -> ProviderError:
        if isinstance(exc, DecodeError) or not isinstance(exc, AzureError):
            return Retryable(Reason.NONSENSE, f"{doing}: an answer that makes no sense ({type(exc).__name__})")
        said = redact(exc.message, self._secret)
        if isinstance(exc, HttpResponseError) and exc.response is not None and exc.status_code:
            retry_after = getattr(exc.response, "headers", {}).get("retry-after")
            return by_status(exc.status_code, doing, said, retry_after=retry_after)
        if isinstance(exc, ClientAuthenticationError):
            return Refused(Reason.BAD_CREDENTIALS, f"{doing}: no token for Azure: {said}")
        return Retryable(Reason.NETWORK, f"{doing}: no connection ({type(exc).__name__})")


def _hashed(doing: str, keys: ApiKeys | None) -> dict[Slot, str]:
    first, second = getattr(keys, "key1", None), getattr(keys, "key2", None)
    if not (isinstance(first, str) and isinstance(second, str) and len(first) >= 16 and len(second) >= 16):
        raise Retryable(Reason.NONSENSE, f"{doing}: the answer does not show two keys")
    return {"Key1": sha256(first.encode()).hexdigest(), "Key2": sha256(second.encode()).hexdigest()}
