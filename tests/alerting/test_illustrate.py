"""Which picture is due, and how often it is tried."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from alerting.channels.base import DeliveryState, Illustrated
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.memory import MemoryChannel
from alerting.deliver import DeliveryFailure
from alerting.illustrate import Illustration, illustrate, occasion
from schemas.records import Incident
from tests.alerting.world import incident, sketched

OPEN = incident(sketch=sketched())
CONTAINED = incident(sketch=sketched(), state="contained", seq=2)


class Gallery(MemoryChannel):
    """Remembers its pictures."""

    pictures = True

    def __init__(self, failures: Iterable[ChannelError] = ()) -> None:
        super().__init__("gallery")
        self.shown: list[tuple[str, bytes]] = []
        self.asked = 0
        self._refusals = list(failures)

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        self.asked += 1
        if self._refusals:
            raise self._refusals.pop(0)
        self.shown.append((shown.ids["ts"], png))


async def draw(incident: Incident) -> bytes | None:
    return f"{incident.incident_id} {incident.state}".encode()


async def no_sleep(_seconds: float) -> None:
    return


def message(ts: str = "1.0") -> DeliveryState:
    return DeliveryState(channel="gallery", incident_id="inc_1", seq=1, state="open", ids={"ts": ts})


async def added(one: Incident, channel: Gallery, before: Illustration | None, ts: str = "1.0") -> Illustration:
    result = await illustrate(one, channel, message(ts), before, draw=draw, sleep=no_sleep)
    assert isinstance(result, Illustration)
    return Illustration.from_bytes(result.to_bytes())


def test_only_some_channels_are_illustrated() -> None:
    assert isinstance(Gallery(), Illustrated)
    assert not isinstance(MemoryChannel("ops"), Illustrated)


async def test_one_picture_when_it_opens_and_one_when_it_is_contained() -> None:
    channel = Gallery()
    first = await added(OPEN, channel, None)
    assert occasion(OPEN, message(), first) is None
    second = await added(CONTAINED, channel, first)
    assert occasion(CONTAINED, message(), second) is None
    assert occasion(OPEN, message(), second) is None, "opened again after a leak: it has its picture"
    assert channel.shown == [("1.0", b"inc_1 open"), ("1.0", b"inc_1 contained")]


async def test_nothing_is_drawn_twice_for_one_message() -> None:
    channel = Gallery()
    first = await added(OPEN, channel, None)
    assert await illustrate(OPEN, channel, message(), first, draw=draw, sleep=no_sleep) is None
    assert channel.asked == 1


async def test_a_message_posted_anew_gets_its_picture_anew() -> None:
    channel = Gallery()
    first = await added(OPEN, channel, None)
    await added(OPEN, channel, first, ts="2.0")
    assert [ts for ts, _ in channel.shown] == ["1.0", "2.0"]


@pytest.mark.parametrize("state", ["resolved", "false_positive"])
def test_what_is_over_needs_no_picture(state: str) -> None:
    assert occasion(incident(sketch=sketched(), state=state), message(), None) is None


def test_what_has_no_sketch_needs_no_picture() -> None:
    assert occasion(incident(), message(), None) is None


async def test_tries_are_bounded() -> None:
    channel = Gallery(Retryable("gallery", Reason.SERVER_ERROR, "broken") for _ in range(9))
    result = await illustrate(OPEN, channel, message(), None, draw=draw, sleep=no_sleep)
    assert isinstance(result, DeliveryFailure)
    assert (result.reason, result.attempts, channel.asked) == (Reason.SERVER_ERROR, 4, 4)


async def test_a_missing_scope_is_not_tried_again() -> None:
    channel = Gallery([Refused("gallery", Reason.UNAUTHORIZED, "missing_scope")])
    result = await illustrate(OPEN, channel, message(), None, draw=draw, sleep=no_sleep)
    assert isinstance(result, DeliveryFailure)
    assert (result.reason, channel.asked) == (Reason.UNAUTHORIZED, 1)


async def test_a_drawing_that_fails_is_a_value_and_says_nothing_foreign() -> None:
    async def broken(_: Incident) -> bytes | None:
        raise ZeroDivisionError("secret")

    result = await illustrate(OPEN, Gallery(), message(), None, draw=broken, sleep=no_sleep)
    assert isinstance(result, DeliveryFailure)
    assert (result.reason, "secret" in str(result)) == (Reason.INTERNAL, False)


async def test_nothing_to_draw_is_nothing_to_show() -> None:
    async def nothing(_: Incident) -> bytes | None:
        return None

    channel = Gallery()
    assert await illustrate(OPEN, channel, message(), None, draw=nothing, sleep=no_sleep) is None
    assert channel.asked == 0
