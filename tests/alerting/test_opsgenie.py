"""Opsgenie: one alert per incident, and a further one for what must wake somebody who has acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from alerting.channels.base import Channel, DeliveryState
from alerting.channels.errors import Reason, Refused, Retryable
from schemas.records import IncidentState, Severity, StepState
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import FACTS, incident, shown_step


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(NETWORKED["opsgenie"].well) as one:
        yield one


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Channel]:
    one = build("opsgenie", server.url)
    yield one
    await one.close()


def asked(server: Server) -> list[str]:
    """Each call in a word or two: what, and of which alert."""
    found = []
    for arrived in server.arrived:
        parts = arrived.path.partition("?")[0].split("/")
        found.append(f"create {arrived.json['alias']}" if parts[-1] == "alerts" else f"{parts[-1]} {parts[-2]}")
    return found


async def test_a_new_alert_holds_the_incident(server: Server, channel: Channel) -> None:
    await channel.deliver(incident(facts=FACTS.model_copy(update={"team": "a,b <i>"})), None)
    (arrived,) = server.arrived
    body = arrived.json
    assert (arrived.path, arrived.headers["Authorization"]) == ("/v2/alerts", "GenieKey SECRETgenie-1234")
    assert (body["alias"], body["priority"], body["source"]) == ("inc_1", "P1", "keyfuse")
    assert body["message"].startswith("CRITICAL, open: openai key fp1:0123456789abcdef of a,b ‹i›/ranker (prod)")
    assert body["tags"] == ["keyfuse", "a b ‹i›", "prod"]
    assert body["details"]["What to do"] == "docs/runbooks/velocity.md"
    assert "<" not in str(body)


@pytest.mark.parametrize(("severity", "priority"), [("info", "P5"), ("warning", "P3"), ("critical", "P1")])
async def test_priority(server: Server, channel: Channel, severity: Severity, priority: str) -> None:
    await channel.deliver(incident(severity=severity), None)
    assert server.arrived[0].json["priority"] == priority


async def test_limits_of_the_service_are_kept(server: Server, channel: Channel) -> None:
    await channel.deliver(incident(key_id="k" * 900, facts=FACTS.model_copy(update={"team": "t" * 900})), None)
    body = server.arrived[0].json
    assert (len(body["message"]), len(body["entity"])) == (130, 512)
    assert max(map(len, body["tags"])) == 50


async def test_the_whole_life_has_one_alias(server: Server, channel: Channel) -> None:
    state: DeliveryState | None = None
    life: list[IncidentState] = ["open", "acknowledged", "acknowledged", "contained", "resolved"]
    for seq, now in enumerate(life, start=1):
        state = await channel.deliver(incident(seq=seq, state=now), state)
    assert asked(server) == ["create inc_1", "acknowledge inc_1", "notes inc_1", "notes inc_1", "close inc_1"]
    assert all(arrived.query["identifierType"] == "alias" for arrived in server.arrived[1:])


@pytest.mark.parametrize(
    ("state", "expected"),
    [("acknowledged", "acknowledge"), ("resolved", "close"), ("false_positive", "close"), ("contained", "notes")],
)
async def test_an_incident_nobody_heard_of_is_created_first(
    server: Server, channel: Channel, state: IncidentState, expected: str
) -> None:
    await channel.deliver(incident(seq=3, state=state), None)
    assert asked(server) == ["create inc_1", f"{expected} inc_1"]


async def test_what_must_wake_somebody_again_is_a_further_alert(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(severity="warning"), None)
    state = await channel.deliver(incident(seq=2, severity="warning", state="acknowledged"), state)
    state = await channel.deliver(incident(seq=3, state="acknowledged"), state)
    failed: dict[str, Any] = {"steps": (shown_step(state=StepState.IRREVOCABLE),)}
    state = await channel.deliver(incident(seq=4, **failed), state)
    state = await channel.deliver(incident(seq=5, **failed), state)
    await channel.deliver(incident(seq=6, state="resolved", **failed), state)
    assert asked(server)[2:] == [
        "create inc_1:critical", "notes inc_1", "create inc_1:failed-1", "notes inc_1", "notes inc_1",
        "close inc_1", "close inc_1%3Acritical", "close inc_1%3Afailed-1",
    ]  # fmt: skip


async def test_an_incident_that_opens_again_is_a_new_alert(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(), None)
    state = await channel.deliver(incident(seq=2, state="resolved"), state)
    await channel.deliver(incident(seq=3), state)
    assert asked(server)[2:] == ["create inc_1", "notes inc_1"]


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [(401, Retryable, Reason.UNAUTHORIZED), (403, Retryable, Reason.UNAUTHORIZED), (422, Refused, Reason.REJECTED)],
)
async def test_a_wrong_key(
    server: Server, channel: Channel, status: int, error: type[Exception], reason: Reason
) -> None:
    server.answers = [Answer(status, '{"message": "Key format is not valid!", "took": 0.0, "requestId": "r"}')]
    with pytest.raises(error) as caught:
        await channel.deliver(incident(), None)
    assert getattr(caught.value, "reason", None) == reason
