"""Google's REST APIs, with tokens from google-auth: each call made once, every foreign exception ended here.

REST and not Google's own client for API keys: that one speaks gRPC, which no plain local server can answer in a test,
and the keys of service accounts would need a second client.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, Final

import google.auth
from google.auth import exceptions
from google.auth.credentials import Credentials
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.http import JsonApi
from containment.providers.redact import redact

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


class GoogleRest:
    """Calls with a fresh token.

    Args:
        secret: A service account's key file (JSON), or empty for the machine's own identity.
        timeout_s: For one call.

    Raises:
        ValueError: the secret is something else.
    """

    def __init__(self, secret: SecretStr, *, timeout_s: float) -> None:
        self._credentials = _from_key_file(secret) if secret.get_secret_value() else None
        self._timeout_s = timeout_s
        self._api = JsonApi("", SecretStr(""), timeout_s=timeout_s, headers={}, bearer=False)
        self._refreshing = asyncio.Lock()

    async def call(
        self, method: str, url: str, doing: str, *, body: object = None, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's JSON object. Raises ProviderError for everything else, in words that start with `doing`."""
        token = await self._token(doing)
        return await self._api.call(method, url, doing, body=body, query=query, token=token)

    async def close(self) -> None:
        await self._api.close()

    async def _token(self, doing: str) -> SecretStr:
        async with self._refreshing:
            if self._credentials is None or not self._credentials.valid:
                self._credentials = await asyncio.to_thread(self._refreshed, doing)
            return SecretStr(str(self._credentials.token))

    def _refreshed(self, doing: str) -> Credentials:
        try:
            credentials = self._credentials or _of_this_machine()
            credentials.refresh(partial(Request(), timeout=self._timeout_s))  # type: ignore[no-untyped-call]  # it has no types
        except (exceptions.DefaultCredentialsError, OSError):  # OSError: what should be read is no file we may read
            words = f"{doing}: this machine has no Google identity; set secret_env or secret_file, or give it one"
            raise Refused(Reason.BAD_CREDENTIALS, words) from None
        except (exceptions.TransportError, exceptions.TimeoutError):
            raise Retryable(Reason.NETWORK, f"{doing}: no connection for a token") from None
        except exceptions.GoogleAuthError as exc:
            said = redact(str(exc.args[0]) if exc.args else type(exc).__name__, SecretStr(""))
            if exc.retryable:
                raise Retryable(Reason.UNAVAILABLE, f"{doing}: no token was given: {said}") from None
            raise Refused(Reason.BAD_CREDENTIALS, f"{doing}: no token was given: {said}") from None
        return credentials


def _of_this_machine() -> Credentials:
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return credentials


def _from_key_file(secret: SecretStr) -> Credentials:
    try:
        info = json.loads(secret.get_secret_value())
        read = service_account.Credentials.from_service_account_info
        made: Credentials = read(info, scopes=_SCOPES)  # type: ignore[no-untyped-call]  # it has no types
    except (ValueError, TypeError, AttributeError, exceptions.GoogleAuthError):
        words = "the secret must be a service account's key file (JSON), or empty for the machine's own identity"
        raise ValueError(words) from None  # the cause may quote the file
    return made
