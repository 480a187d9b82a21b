"""Why a channel could not be told.

    ChannelError
    ├── Retryable   it may work later; `retry_after_s` when the other side says when
    └── Refused     it will not work until somebody changes something

Foreign exceptions end in the channel's module: ours are raised after the `except` block, so that they carry no foreign
one along. Its text may quote what the other side answered, and a hostile or broken side may answer with our own token.
"""

from __future__ import annotations

import math
from enum import StrEnum


class Reason(StrEnum):
    """Why, as a closed list; also a metric label."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BAD_ANSWER = "bad_answer"  # not what this service answers: a proxy, a login page
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"  # understood and not wanted
    GONE = "gone"  # the receiver wants no more of these
    REDIRECTED = "redirected"  # redirects are not followed: they could lead anywhere
    FORBIDDEN_ADDRESS = "forbidden_address"
    MISCONFIGURED = "misconfigured"
    INTERNAL = "internal"  # a mistake in Keyfuse


class ChannelError(Exception):
    """Base: which channel, why, and in words. Holds no secret."""

    retryable = False

    def __init__(self, channel: str, reason: Reason, detail: str) -> None:
        super().__init__(channel, reason, detail)
        self.channel = channel
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"channel {self.channel}: {self.reason.value}: {self.detail}"


class Retryable(ChannelError):
    """It may work later."""

    retryable = True

    def __init__(self, channel: str, reason: Reason, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(channel, reason, detail)
        self.retry_after_s = retry_after_s


class Refused(ChannelError):
    """It will not work until somebody changes something: a token, an address, a setting."""


def retry_after_s(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None when it is missing, a date or nonsense.

    >>> retry_after_s("30"), retry_after_s("Wed, 21 Oct 2026 07:28:00 GMT"), retry_after_s("-1"), retry_after_s("nan")
    (30.0, None, None, None)
    """
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None
