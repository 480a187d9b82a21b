"""What an official client raises, as our errors.

OpenAI's and Anthropic's clients come from the same generator: their errors have the same names and shapes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import ModuleType
from typing import TypeVar

from pydantic import SecretStr

from containment.providers.errors import ProviderError, Reason, Retryable, by_status
from containment.providers.redact import redact

T = TypeVar("T")


class SdkCalls:
    """Makes calls with an official client; its failures are ours.

    Args:
        sdk: The client's module, where its errors are.
        base: The class that all of them have in common.
        secret: The admin key, kept out of what is said.
    """

    def __init__(self, sdk: ModuleType, base: type[Exception], secret: SecretStr) -> None:
        self._sdk = sdk
        self._base = base
        self._secret = secret

    async def make(self, doing: str, call: Awaitable[T]) -> T:
        """The answer. Raises ProviderError for everything else, in words that start with `doing`."""
        try:
            return await call
        except (self._base, ValueError, TypeError, AttributeError) as exc:
            # The client builds its models from whatever came; another shape surfaces as one of the last three.
            raise self._ours(doing, exc) from None

    def _ours(self, doing: str, exc: Exception) -> ProviderError:
        if isinstance(exc, self._sdk.APIStatusError):
            said = redact(exc.message, self._secret)
            return by_status(exc.status_code, doing, said, retry_after=exc.response.headers.get("retry-after"))
        if isinstance(exc, self._sdk.APITimeoutError):
            return Retryable(Reason.TIMEOUT, f"{doing}: no answer in time")
        if isinstance(exc, self._sdk.APIConnectionError):
            return Retryable(Reason.NETWORK, f"{doing}: no connection")
        return Retryable(Reason.NONSENSE, f"{doing}: an answer that makes no sense ({type(exc).__name__})")
