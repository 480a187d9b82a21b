"""PagerDuty: one alert per incident; what people hear of is never lost in an acknowledged alert."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from alerting.channels.base import Channel, DeliveryState
from alerting.channels.errors import Reason, Refused
from schemas.records import IncidentState, Severity, StepState
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import WORDS, incident, shown_step


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(NETWORKED["pagerduty"].well) as one:
        yield one


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Channel]:
    one = build("pagerduty", server.url)
    yield one
    await one.close()


def actions(server: Server) -> list[str]:
    return [arrived.json["event_action"] for arrived in server.arrived]


async def test_a_trigger_holds_the_incident(server: Server, channel: Channel) -> None:
    await channel.deliver(incident(), None)
    (event,) = [arrived.json for arrived in server.arrived]
    assert server.arrived[0].path == "/v2/enqueue"
    assert (event["routing_key"], event["dedup_key"]) == (NETWORKED["pagerduty"].secret, "inc_1")
    payload = event["payload"]
    assert payload["summary"].startswith("CRITICAL, open: openai key fp1:0123456789abcdef of search/ranker (prod)")
    assert payload["summary"].endswith(" [inc_1]")  # all that a webhook will bring back
    assert (payload["source"], payload["component"], payload["group"]) == ("fp1:0123456789abcdef", "ranker", "search")
    assert payload["timestamp"] == "2026-11-23T10:00:00.000Z"
    assert payload["custom_details"]["Reason: velocity"] == WORDS["velocity"]


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
async def test_severity(server: Server, channel: Channel, severity: Severity) -> None:
    await channel.deliver(incident(severity=severity), None)
    assert server.arrived[0].json["payload"]["severity"] == severity


async def test_the_whole_life_has_one_dedup_key(server: Server, channel: Channel) -> None:
    state: DeliveryState | None = None
    life: list[IncidentState] = ["open", "acknowledged", "contained", "resolved"]
    for seq, now in enumerate(life, start=1):
        state = await channel.deliver(incident(seq=seq, state=now), state)
    assert actions(server) == ["trigger", "acknowledge", "trigger", "resolve"]
    assert {arrived.json["dedup_key"] for arrived in server.arrived} == {"inc_1"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [("acknowledged", ["trigger", "acknowledge"]), ("resolved", ["trigger", "resolve"]),
     ("false_positive", ["trigger", "resolve"]), ("contained", ["trigger"])],
)  # fmt: skip
async def test_an_incident_nobody_heard_of_is_triggered_first(
    server: Server, channel: Channel, state: IncidentState, expected: list[str]
) -> None:
    await channel.deliver(incident(seq=3, state=state), None)
    assert actions(server) == expected


async def test_news_of_an_acknowledged_incident_is_added_to_it(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(), None)
    state = await channel.deliver(incident(seq=2, state="acknowledged"), state)
    await channel.deliver(incident(seq=3, state="acknowledged"), state)
    assert actions(server)[2:] == ["trigger"]


async def test_a_failed_step_pages_again(server: Server, channel: Channel) -> None:
    """An acknowledged alert is silent whatever is triggered, so it is closed and opened anew, once."""
    state = await channel.deliver(incident(), None)
    state = await channel.deliver(incident(seq=2, state="acknowledged"), state)
    failed = incident(seq=3, steps=(shown_step(state=StepState.IRREVOCABLE),))
    state = await channel.deliver(failed, state)
    assert actions(server)[2:] == ["resolve", "trigger"]
    assert "A PERSON MUST ACT NOW" in server.arrived[-1].json["payload"]["summary"]
    await channel.deliver(failed.model_copy(update={"seq": 4}), state)
    assert actions(server)[4:] == ["trigger"]


@pytest.mark.parametrize(
    ("before", "by", "expected"),
    [("acknowledged", "keyfuse", ["resolve", "trigger"]), ("contained", "keyfuse", ["resolve", "trigger"]),
     ("contained", "ada", ["trigger"]), ("open", "keyfuse", ["trigger"])],
)  # fmt: skip
async def test_what_somebody_had_in_hand_pages_again_unless_a_person_opened_it(
    server: Server, channel: Channel, before: IncidentState, by: str, expected: list[str]
) -> None:
    state = await channel.deliver(incident(seq=2, state=before), None)
    told = len(server.arrived)
    await channel.deliver(incident(seq=3, state="open", by=by), state)
    assert actions(server)[told:] == expected


@pytest.mark.parametrize(("status", "reason"), [(400, Reason.REJECTED), (403, Reason.UNAUTHORIZED)])
async def test_a_wrong_routing_key(server: Server, channel: Channel, status: int, reason: Reason) -> None:
    server.answers = [Answer(status, '{"status": "invalid event"}')]
    with pytest.raises(Refused) as caught:
        await channel.deliver(incident(), None)
    assert caught.value.reason == reason
