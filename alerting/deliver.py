"""Tell one channel, with bounded patience. What fails is a value, so that one dead channel cannot stop another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

from alerting.channels.base import Channel, DeliveryState
from alerting.channels.errors import ChannelError, Reason, Retryable
from schemas.records import Incident, Record

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


class RetryPlan(NamedTuple):
    """How often and how long; pauses double."""

    attempts: int = 4
    wait_initial_s: float = 0.5
    wait_max_s: float = 30.0

    def wait_s(self, attempt: int) -> float:
        """The pause after try number `attempt`, counted from 1."""
        return min(self.wait_initial_s * 2.0 ** (attempt - 1), self.wait_max_s)


DEFAULT_RETRY: Final = RetryPlan()


class About(NamedTuple):
    """What is being told, and where."""

    channel: str
    subject: str  # the incident's id, or the question's


class DeliveryFailure(Record):
    """This version was not delivered. Holds no secret; fit for logs."""

    channel: str
    subject: str
    reason: Reason
    detail: str
    attempts: int
    retryable: bool  # worth another round later; otherwise somebody must change something first
    retry_after_s: float | None = None  # no sooner than this, says the other side

    def __str__(self) -> str:
        tries = "1 try" if self.attempts == 1 else f"{self.attempts} tries"
        return f"channel {self.channel}: {self.reason.value}: {self.detail} ({tries})"


async def deliver(
    incident: Incident,
    channel: Channel,
    previous: DeliveryState | None,
    *,
    retry: RetryPlan = DEFAULT_RETRY,
    sleep: Sleep = asyncio.sleep,
) -> DeliveryState | DeliveryFailure:
    """Bring one version of an incident to one channel; never raises, but for cancellation.

    Args:
        incident: The version to show.
        channel: Where.
        previous: What the last success for this incident and channel returned. A version that it already shows is not
            sent again.
        retry: Bounds. A wait that the other side asks for is kept, unless it is longer than `wait_max_s`: then this
            ends, and the failure says when to come back.
        sleep: Pauses; tests pass their own.

    Returns:
        The new state, to be stored for the next version; or why not.
    """
    if previous is not None and (previous.channel, previous.incident_id) != (channel.name, incident.incident_id):
        previous = None  # somebody else's message must not be edited
    if previous is not None and incident.seq <= previous.seq:
        return previous
    about = About(channel.name, incident.incident_id)
    return await patiently(lambda: channel.deliver(incident, previous), about, retry=retry, sleep=sleep)


async def patiently(
    call: Callable[[], Awaitable[T]],
    about: About,
    *,
    retry: RetryPlan = DEFAULT_RETRY,
    sleep: Sleep = asyncio.sleep,
) -> T | DeliveryFailure:
    """Try the call within the bounds of the plan; never raises, but for cancellation."""
    attempt = 1
    while True:
        try:
            return await call()
        except ChannelError as error:
            failure = _failure(about, error, attempt)
        except Exception as error:
            # Isolation: a mistake in one channel must not silence the others. Only the type of the error is kept: the
            # text of an unforeseen one may hold anything, also a token.
            mistake = ChannelError(about.channel, Reason.INTERNAL, f"unforeseen {type(error).__name__}")
            return _failure(about, mistake, attempt)
        pause_s = max(retry.wait_s(attempt), failure.retry_after_s or 0.0)
        if not failure.retryable or attempt >= retry.attempts or pause_s > retry.wait_max_s:
            return failure
        await sleep(pause_s)
        attempt += 1


def _failure(about: About, error: ChannelError, attempts: int) -> DeliveryFailure:
    return DeliveryFailure(
        channel=about.channel, subject=about.subject, reason=error.reason, detail=error.detail, attempts=attempts,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s if isinstance(error, Retryable) else None,
    )  # fmt: skip
