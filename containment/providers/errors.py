"""What can go wrong with a provider. Foreign exceptions stop at the adapters and become these.

ProviderError              what failed, on what, in words without a secret
├── Retryable              may work if tried again, after `retry_after_s` where the provider said so
└── Refused                will not work however often it is tried; a person must act
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a call failed: a closed list, also a metric label."""

    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    NETWORK = "network"
    NONSENSE = "nonsense"  # an answer that is not what the provider documents
    BAD_CREDENTIALS = "bad_credentials"
    FORBIDDEN = "forbidden"  # our admin key may not do this
    UNKNOWN_KEY = "unknown_key"
    BAD_REF = "bad_ref"  # `provider_ref` does not have the provider's form
    NOT_SUPPORTED = "not_supported"
    SERVICE_ACCOUNT = "service_account"
    FINAL = "final"  # cannot be undone
    REJECTED = "rejected"  # any other refusal of the request itself
    DEFECT = "defect"  # an adapter broke; see the log


class ProviderError(Exception):
    """Base: `reason` for machines, the text for people."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason}, {str(self)!r})"


class Retryable(ProviderError):
    """Worth another try."""

    def __init__(self, reason: Reason, words: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason, words)
        self.retry_after_s = retry_after_s


class Refused(ProviderError):
    """Not worth another try."""


_RETRYABLE: Final = {408: Reason.TIMEOUT, 409: Reason.UNAVAILABLE, 425: Reason.UNAVAILABLE, 429: Reason.RATE_LIMITED}
_REFUSED: Final = {401: Reason.BAD_CREDENTIALS, 403: Reason.FORBIDDEN, 404: Reason.UNKNOWN_KEY}
_MEANING: Final = {
    Reason.BAD_CREDENTIALS: "the admin key is wrong or expired",
    Reason.FORBIDDEN: "the admin key lacks the permission",
    Reason.UNKNOWN_KEY: "the provider does not know this key",
}


def by_status(status: int, doing: str, said: str, *, retry_after: str | None = None) -> ProviderError:
    """What an HTTP status means for us. `said` must be free of secrets; `retry_after` is the raw header.

    >>> by_status(429, "disable k1", "slow down", retry_after="7")
    Retryable(rate_limited, 'disable k1: answered 429: slow down')
    >>> by_status(404, "disable k1", "")
    Refused(unknown_key, 'disable k1: the provider does not know this key (404)')
    """
    if status in _RETRYABLE or status >= 500:
        reason = _RETRYABLE.get(status, Reason.UNAVAILABLE)
        words = f"{doing}: answered {status}" + (f": {said}" if said else "")
        return Retryable(reason, words, retry_after_s=_seconds(retry_after))
    reason = _REFUSED.get(status, Reason.REJECTED)
    meaning = _MEANING.get(reason, "the provider rejected the request")
    return Refused(reason, f"{doing}: {meaning} ({status})" + (f": {said}" if said else ""))


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; the other form of the header, a date, is left to our own backoff."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
