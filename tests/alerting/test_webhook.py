"""Webhooks: signed, known by one id, sent to nowhere else."""

from __future__ import annotations

import base64
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from alerting.channels.address import checked_url, may_reach
from alerting.channels.build import build_channel, utc_now
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.webhook import WebhookChannel
from schemas.config.routes import ChannelConfig
from schemas.records import Incident
from tests.alerting.kinds import NETWORKED, build, now
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import incident

SECRET = NETWORKED["webhook"].secret
OTHER = "whsec_" + base64.b64encode(b"another secret, twenty-four bytes").decode()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(NETWORKED["webhook"].well) as one:
        yield one


async def sent(server: Server, one: Incident, secret: str = SECRET) -> dict[str, str]:
    config = ChannelConfig(kind="webhook", target=f"{server.url}/hooks/x?y=z")
    channel = build_channel("ops", config, SecretStr(secret), now=utc_now)
    await channel.deliver(one, None)
    await channel.close()
    return {name.lower(): value for name, value in server.arrived[-1].headers.items()}


async def test_the_receiver_can_verify_it(server: Server) -> None:
    headers = await sent(server, incident())
    body = Webhook(SECRET).verify(server.arrived[0].body, headers)
    assert body["type"] == "incident.open"
    assert body["timestamp"] == "2026-11-23T10:00:00.000Z"
    assert Incident.model_validate(body["data"]) == incident()
    assert server.arrived[0].path == "/hooks/x?y=z"
    assert headers["host"] == server.url.removeprefix("http://")


async def test_a_changed_body_or_another_secret_is_noticed(server: Server) -> None:
    headers = await sent(server, incident())
    body = server.arrived[0].body
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace("open", "resolved", 1), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, headers)


async def test_a_rotating_secret_signs_with_both(server: Server) -> None:
    headers = await sent(server, incident(), f"{OTHER} {SECRET}")
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(server.arrived[0].body, headers)["type"] == "incident.open"


async def test_the_id_belongs_to_incident_and_version(server: Server) -> None:
    ids = [(await sent(server, incident(seq=seq)))["webhook-id"] for seq in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


async def test_the_timestamp_is_the_clock_s(server: Server) -> None:
    channel = build("webhook", server.url, clock=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    await channel.deliver(incident(), None)
    await channel.close()
    assert {k.lower(): v for k, v in server.arrived[0].headers.items()}["webhook-timestamp"] == "1767323045"


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (201, None, None),
        (204, None, None),
        (400, Refused, Reason.REJECTED),
        (401, Retryable, Reason.UNAUTHORIZED),
        (404, Retryable, Reason.NOT_FOUND),
        (410, Refused, Reason.GONE),
        (422, Refused, Reason.REJECTED),
    ],
)
async def test_statuses(server: Server, status: int, error: type[ChannelError] | None, reason: Reason | None) -> None:
    server.answers = [Answer(status)]
    channel = build("webhook", server.url)
    if error is None:
        assert (await channel.deliver(incident(), None)).seq == 1
    else:
        with pytest.raises(error) as caught:
            await channel.deliver(incident(), None)
        assert caught.value.reason == reason
    await channel.close()


def resolving_to(*addresses: str, url: str, internal: bool) -> WebhookChannel:
    async def resolve(host: str, port: int) -> list[str]:
        assert host == "hooks.example.com"
        return list(addresses)

    config = ChannelConfig(kind="webhook", target=url, internal=internal)
    return WebhookChannel("ops", config, SecretStr(SECRET), now=now, resolve=resolve)


async def test_a_public_name_that_leads_inside_is_not_followed(server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    channel = resolving_to("127.0.0.1", "10.0.0.1", url=f"https://hooks.example.com:{port}/x", internal=False)
    with pytest.raises(Refused) as caught:
        await channel.deliver(incident(), None)
    assert caught.value.reason == Reason.FORBIDDEN_ADDRESS
    assert server.arrived == []
    await channel.close()


async def test_it_connects_to_the_address_it_checked_under_the_name_it_was_given(server: Server) -> None:
    """The first address does not answer, the metadata service is skipped, the third one is the server."""
    port = server.url.rsplit(":", 1)[1]
    addresses = ("127.0.0.3", "169.254.169.254", "127.0.0.1")
    channel = resolving_to(*addresses, url=f"http://hooks.example.com:{port}/x", internal=True)
    await channel.deliver(incident(), None)
    await channel.close()
    assert [arrived.headers["Host"] for arrived in server.arrived] == [f"hooks.example.com:{port}"]


async def test_a_name_nobody_knows_may_be_known_later(server: Server) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    config = ChannelConfig(kind="webhook", target="https://hooks.example.com/x")
    channel = WebhookChannel("ops", config, SecretStr(SECRET), now=now, resolve=unknown)
    with pytest.raises(Retryable) as caught:
        await channel.deliver(incident(), None)
    assert caught.value.reason == Reason.CONNECTION
    await channel.close()


@pytest.mark.parametrize(
    ("address", "host", "internal", "allowed"),
    [
        ("93.184.215.14", "hooks.example.com", False, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "hooks.example.com", False, True),
        ("10.0.0.8", "hooks.example.com", False, False),
        ("10.0.0.8", "hooks.corp", True, True),
        ("::ffff:10.0.0.8", "hooks.example.com", False, False),
        ("127.0.0.1", "rebind.example.com", False, False),
        ("127.0.0.1", "localhost", False, True),
        ("127.0.0.1", "sidecar", True, True),
        ("169.254.169.254", "metadata", True, False),
        ("::ffff:169.254.169.254", "metadata", True, False),
        ("fd00:ec2::254", "metadata", True, False),
        ("fe80::1%eth0", "router", True, False),
        ("0.0.0.0", "nowhere", True, False),
        ("224.0.0.1", "everybody", True, False),
    ],
)
def test_addresses(address: str, host: str, internal: bool, allowed: bool) -> None:
    assert may_reach(address, host=host, internal=internal) is allowed


@pytest.mark.parametrize(
    ("url", "internal", "words"),
    [
        ("http://hooks.example.com/SECRETpath", False, "use https"),
        ("ftp://hooks.example.com/SECRETpath", False, "must be a URL"),
        ("hooks.example.com/SECRETpath", False, "must be a URL"),
        ("", False, "must be a URL"),
        ("https://user:SECRETword@hooks.example.com/", False, "user name or password"),
        ("https://hooks.example.com:99999/SECRETpath", False, "not a URL"),
        ("http://hooks.corp/x", True, None),
        ("http://127.0.0.1:8080/x", False, None),
        ("https://hooks.example.com/x", False, None),
    ],
)
def test_urls(url: str, internal: bool, words: str | None) -> None:
    if words is None:
        assert checked_url(url, channel="ops", internal=internal) == url
        return
    with pytest.raises(Refused, match=words) as caught:
        checked_url(url, channel="ops", internal=internal)
    assert "SECRET" not in f"{caught.value}{caught.value!r}"


@pytest.mark.parametrize(
    ("settings", "secret", "words"),
    [
        ({"kind": "webhook", "target": "https://hooks.example.com/"}, "", "signing secret"),
        ({"kind": "webhook", "target": "https://hooks.example.com/"}, "whsec_", "signing secret"),
        ({"kind": "slack"}, "xoxb-1", "channel's id"),
        ({"kind": "slack", "target": "C1"}, "", "bot token"),
        ({"kind": "slack", "target": "C1", "base_url": "http://slack.example.com"}, "xoxb-1", "use https"),
        ({"kind": "pagerduty"}, "", "routing"),
        ({"kind": "pagerduty", "base_url": "http://pd.example.com"}, "R1", "use https"),
        ({"kind": "pigeon"}, "coo", "unknown kind 'pigeon'"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(settings: dict[str, Any], secret: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        build_channel("ops", ChannelConfig(**settings), SecretStr(secret))
    assert caught.value.reason == Reason.MISCONFIGURED
    assert caught.value.channel == "ops"
