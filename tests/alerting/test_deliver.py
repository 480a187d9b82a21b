"""Patience is bounded, a version comes once, and what fails is a value."""

from __future__ import annotations

import asyncio

import pytest

from alerting.channels.base import Channel, DeliveryState
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.memory import MemoryChannel
from alerting.deliver import DeliveryFailure, RetryPlan, deliver
from schemas.records import Incident
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import Answer, serving
from tests.alerting.world import incident

PLAN = RetryPlan(attempts=4, wait_initial_s=1, wait_max_s=30)


class Pauses:
    """A sleep that only writes down how long."""

    def __init__(self) -> None:
        self.s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.s.append(seconds)


def later(after_s: float | None = None) -> Retryable:
    return Retryable("ops", Reason.SERVER_ERROR, "answered 500", retry_after_s=after_s)


def never() -> Refused:
    return Refused("ops", Reason.UNAUTHORIZED, "invalid_auth")


@pytest.mark.parametrize(
    ("case", "failures", "pauses", "delivered"),
    [
        ("at once", [], [], True),
        ("third try", [later(), later()], [1, 2], True),
        ("asked to wait longer", [later(7)], [7], True),
        ("asked to wait less than the pause", [later(0.1)], [1], True),
        ("asked to wait too long", [later(31)], [], False),
        ("four tries are enough", [later()] * 4, [1, 2, 4], False),
        ("refused", [never()], [], False),
    ],
)
async def test_patience(case: str, failures: list[ChannelError], pauses: list[float], delivered: bool) -> None:
    channel, sleep = MemoryChannel("ops", failures), Pauses()
    result = await deliver(incident(), channel, None, retry=PLAN, sleep=sleep)
    assert isinstance(result, DeliveryState) is delivered, case
    assert sleep.s == pauses
    assert len(channel.delivered) == int(delivered)


async def test_a_failure_says_why_and_when_to_come_back() -> None:
    result = await deliver(incident(), MemoryChannel("ops", [later(600)]), None, retry=PLAN, sleep=Pauses())
    assert isinstance(result, DeliveryFailure)
    assert (result.reason, result.retryable, result.retry_after_s) == (Reason.SERVER_ERROR, True, 600)
    assert str(result) == "channel ops: server_error: answered 500 (1 try)"
    refused = await deliver(incident(), MemoryChannel("ops", [never()]), None, retry=PLAN, sleep=Pauses())
    assert isinstance(refused, DeliveryFailure)
    assert not refused.retryable


@pytest.mark.parametrize(("seq", "sent"), [(1, False), (2, False), (3, True)])
async def test_a_version_that_is_shown_is_not_sent_again(seq: int, sent: bool) -> None:
    channel = MemoryChannel("ops")
    shown = DeliveryState(channel="ops", incident_id="inc_1", seq=2, state="open")
    result = await deliver(incident(seq=seq), channel, shown, sleep=Pauses())
    assert isinstance(result, DeliveryState)
    assert (result.seq, len(channel.delivered)) == (max(2, seq), int(sent))


@pytest.mark.parametrize("other", [{"channel": "dev"}, {"incident_id": "inc_2"}])
async def test_the_state_of_another_message_is_not_used(other: dict[str, str]) -> None:
    channel = MemoryChannel("ops")
    values = {"channel": "ops", "incident_id": "inc_1"} | other
    await deliver(incident(), channel, DeliveryState(seq=9, state="open", **values), sleep=Pauses())
    assert len(channel.delivered) == 1


class Broken:
    """A channel with a mistake in it, whose error quotes its token."""

    name, kind = "broken", "broken"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        raise KeyError("xoxb-SECRET")

    async def close(self) -> None:
        pass


async def test_a_broken_and_a_dead_channel_stop_no_other() -> None:
    well = MemoryChannel("well")
    channels: list[Channel] = [Broken(), MemoryChannel("dead", [later()] * 9), well]
    results = await asyncio.gather(*(deliver(incident(), each, None, retry=PLAN, sleep=Pauses()) for each in channels))
    assert [type(result) for result in results] == [DeliveryFailure, DeliveryFailure, DeliveryState]
    assert len(well.delivered) == 1
    broken = results[0]
    assert isinstance(broken, DeliveryFailure)
    assert (broken.reason, broken.retryable) == (Reason.INTERNAL, False)
    assert "SECRET" not in f"{broken}{broken!r}"


async def test_cancellation_is_not_swallowed() -> None:
    async def cancelled(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await deliver(incident(), MemoryChannel("ops", [later()]), None, sleep=cancelled)


@pytest.mark.parametrize("kind", sorted(NETWORKED))
async def test_a_real_service_that_recovers_gets_it(kind: str) -> None:
    sleep = Pauses()
    async with serving(NETWORKED[kind].well) as server:
        server.answers = [Answer(500), Answer(429, "{}", headers={"Retry-After": "9"})]
        channel = build(kind, server.url)
        result = await deliver(incident(), channel, None, retry=PLAN, sleep=sleep)
        again = await deliver(incident(), channel, result if isinstance(result, DeliveryState) else None, sleep=sleep)
        await channel.close()
        assert isinstance(result, DeliveryState)
        assert again == result
        assert len(server.arrived) == 3
    assert sleep.s == [1, 9]
