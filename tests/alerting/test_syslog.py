"""Syslog: well-formed messages with OCSF findings, over each transport."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr

from alerting.channels.base import Channel
from alerting.channels.build import build_channel
from alerting.channels.errors import Reason, Refused, Retryable
from alerting.ocsf import detection_finding
from schemas.config.routes import ChannelConfig
from schemas.records import IncidentState, Severity
from tests.alerting.certificate import server_side
from tests.alerting.kinds import syslog_settings
from tests.alerting.syslog_server import Collector, collecting
from tests.alerting.world import FACTS, WORDS, incident, ms, shown_step

REQUIRED = {  # by every OCSF event and by class 2004
    "activity_id", "category_uid", "class_uid", "finding_info", "metadata", "severity_id", "time", "type_uid",
}  # fmt: skip


def channel_to(collector: Collector, **changes: Any) -> Channel:
    settings: Any = syslog_settings(collector.port, **changes)
    return build_channel("siem", ChannelConfig(kind="syslog", timeout_s=5, syslog=settings), SecretStr(""))


@pytest.mark.parametrize("transport", ["tls", "tcp", "udp"])
async def test_each_transport_brings_a_well_formed_message(transport: str) -> None:
    tls = server_side() if transport == "tls" else None
    async with collecting(tls=tls, udp=transport == "udp") as collector:
        host = "127.0.0.1" if transport == "udp" else "localhost"
        await channel_to(collector, host=host, transport=transport, hostname="kf-1").deliver(incident(), None)
        await collector.news.wait()
    assert collector.nonsense == []
    (entry,) = collector.arrived
    assert (entry.priority, entry.host, entry.app) == (16 * 8 + 2, "kf-1", "keyfuse")
    assert entry.time == "2026-11-23T10:00:00.000Z"
    assert entry.finding == json.loads(json.dumps(detection_finding(incident())))


async def test_foreign_text_begins_no_message_of_its_own() -> None:
    evil = "x\n<0>1 2026-11-23T10:00:00.000Z - su - - - root ünïcode \u2028"
    async with collecting(tls=server_side()) as collector:
        facts = FACTS.model_copy(update={"team": evil})
        await channel_to(collector).deliver(incident(headline=evil, facts=facts, key_id=evil), None)
        await collector.news.wait()
    assert (len(collector.arrived), collector.nonsense) == (1, [])


async def test_a_collector_that_breaks_off_is_noticed() -> None:
    async with collecting() as collector:
        collector.drop = True
        with pytest.raises(Retryable) as caught:
            await channel_to(collector, transport="tcp").deliver(incident(), None)
    assert caught.value.reason == Reason.CONNECTION
    assert caught.value.__context__ is None


async def test_a_certificate_that_nobody_vouches_for_gets_nothing() -> None:
    async with collecting(tls=server_side()) as collector:
        with pytest.raises(Retryable) as caught:
            await channel_to(collector, ca_file="").deliver(incident(), None)
    assert "check ca_file" in caught.value.detail
    assert collector.arrived == []


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        ({"host": ""}, ""), ({"host": "siem.example.com", "transport": "tcp"}, ""),
        ({"host": "siem.example.com", "transport": "udp"}, ""), ({"ca_file": "/nowhere.pem"}, ""), ({}, "a secret"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_at_the_start(settings: Any, secret: str) -> None:
    config = ChannelConfig(kind="syslog", syslog=syslog_settings(514, **settings))
    with pytest.raises(Refused) as caught:
        build_channel("siem", config, SecretStr(secret))
    assert caught.value.reason == Reason.MISCONFIGURED


def test_a_finding_has_what_the_schema_requires() -> None:
    found = detection_finding(incident(steps=(shown_step(),)), "https://wiki.example.com/{family}")
    assert set(found) >= REQUIRED
    assert (found["class_uid"], found["category_uid"], found["type_uid"]) == (2004, 2, 200401)
    assert set(found["finding_info"]) >= {"uid", "title"}
    assert set(found["metadata"]) >= {"product", "version"}
    assert (found["finding_info"]["uid"], found["finding_info"]["title"]) == ("inc_1", WORDS["velocity"])
    assert found["time"] == ms(0)
    assert found["remediation"]["references"] == ["https://wiki.example.com/velocity"]
    assert found["resources"][0]["uid"] == "fp1:0123456789abcdef"


@pytest.mark.parametrize(
    ("state", "seq", "activity", "status"),
    [
        ("open", 1, 1, 1), ("open", 2, 2, 1), ("acknowledged", 2, 2, 2), ("contained", 3, 2, 2), ("resolved", 4, 3, 4),
        ("false_positive", 4, 3, 3),
    ],
)  # fmt: skip
def test_states(state: IncidentState, seq: int, activity: int, status: int) -> None:
    found = detection_finding(incident(state=state, seq=seq))
    assert (found["activity_id"], found["status_id"], found["type_uid"]) == (activity, status, 200400 + activity)


@pytest.mark.parametrize(("severity", "expected"), [("info", 1), ("warning", 3), ("critical", 5)])
def test_severities(severity: Severity, expected: int) -> None:
    assert detection_finding(incident(severity=severity))["severity_id"] == expected
