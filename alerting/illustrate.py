"""Which picture a channel's message lacks, and bringing it there with bounded patience. Text comes first, always."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from pydantic import Field

from alerting.channels.base import DeliveryState, Illustrated
from alerting.deliver import DEFAULT_RETRY, About, DeliveryFailure, RetryPlan, Sleep, patiently
from schemas.records import CLOSED, Incident, Record

Draw = Callable[[Incident], Awaitable[bytes | None]]
Occasion = Literal["opened", "contained"]
MOST_AT_ONCE: Final = 32
"""Pictures that may wait for one channel; with more, a mass event, the words must do."""


class Illustration(Record):
    """Which pictures a channel shows of one incident. Stored, so that none comes twice."""

    channel: str
    incident_id: str
    shown: dict[Occasion, str] = Field(default_factory=dict)  # occasion -> the message it was put beside


def occasion(incident: Incident, shown: DeliveryState, before: Illustration | None) -> Occasion | None:
    """Why a picture is due: the message is new, or the key has just been cut. None: it has what it needs."""
    if (incident.sketch is None and incident.budget is None) or incident.state in CLOSED:
        return None
    due: Occasion = "contained" if incident.state == "contained" else "opened"
    return due if before is None or before.shown.get(due) != _message(shown) else None


async def illustrate(
    incident: Incident,
    channel: Illustrated,
    shown: DeliveryState,
    before: Illustration | None,
    *,
    draw: Draw,
    retry: RetryPlan = DEFAULT_RETRY,
    sleep: Sleep = asyncio.sleep,
) -> Illustration | DeliveryFailure | None:
    """Draw the picture that is due and put it beside the message; None when none is. Only cancellation is raised.

    Args:
        incident: The version that the message shows.
        channel: Where.
        shown: What the message's delivery returned.
        before: What an earlier call returned for this incident and channel.
        draw: Makes the picture; None when there is nothing to draw.
        retry: Bounds of one round; there is no second one.
        sleep: Pauses; tests pass their own.
    """
    due = occasion(incident, shown, before)
    if due is None:
        return None

    about = About(channel.name, incident.incident_id)
    png = await patiently(lambda: draw(incident), about, retry=retry, sleep=sleep)
    if png is None or isinstance(png, DeliveryFailure):
        return png
    failed = await patiently(lambda: channel.illustrate(incident, shown, png), about, retry=retry, sleep=sleep)
    if failed is not None:
        return failed
    pictures = {**(before.shown if before else {}), due: _message(shown)}
    return Illustration(channel=channel.name, incident_id=incident.incident_id, shown=pictures)


def _message(shown: DeliveryState) -> str:
    """The message's own name: where it was deleted and posted anew, the picture is due again."""
    return " ".join(f"{name}={value}" for name, value in sorted(shown.ids.items()))
