"""Alertmanager's webhook: version 4, one alert whose labels never change."""

from __future__ import annotations

from typing import Any

from alerting.channels.alertmanager import payload
from schemas.records import IncidentState
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import serving
from tests.alerting.world import FACTS, WORDS, incident, ms

V4 = {
    "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels", "commonAnnotations",
    "externalURL", "alerts",
}  # fmt: skip
ALERT = {"status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}


def sent(**changes: Any) -> dict[str, Any]:
    return payload(incident(**changes), receiver="ops", runbooks="https://wiki.example.com/{family}")


def test_it_has_the_fields_of_version_4_and_text_alone_in_labels() -> None:
    body = sent()
    (alert,) = body["alerts"]
    assert (set(body), set(alert)) == (V4, ALERT)
    assert (body["version"], body["status"], body["receiver"], body["truncatedAlerts"]) == ("4", "firing", "ops", 0)
    assert all(isinstance(value, str) for part in ("labels", "annotations") for value in alert[part].values())
    assert alert["annotations"]["description"] == WORDS["velocity"]
    assert alert["annotations"]["runbook_url"] == alert["generatorURL"] == "https://wiki.example.com/velocity"
    assert len(alert["fingerprint"]) == 16
    assert int(alert["fingerprint"], 16) >= 0


def test_the_whole_life_is_one_alert_that_ends() -> None:
    states: list[IncidentState] = ["open", "acknowledged", "contained", "false_positive"]
    bodies = [sent(seq=seq, state=state, updated_at_ms=ms(seq)) for seq, state in enumerate(states, start=1)]
    alerts = [body["alerts"][0] for body in bodies]
    assert [alert["status"] for alert in alerts] == ["firing", "firing", "firing", "resolved"]
    assert len({(alert["fingerprint"], tuple(alert["labels"].items()), alert["startsAt"]) for alert in alerts}) == 1
    assert len({body["groupKey"] for body in bodies}) == 1
    assert [alert["endsAt"][:4] for alert in alerts] == ["0001", "0001", "0001", "2026"]


def test_severity_rises_without_making_another_alert_of_it() -> None:
    low, high = sent(severity="warning")["alerts"][0], sent(severity="critical")["alerts"][0]
    assert low["labels"] == high["labels"]
    assert (low["annotations"]["severity"], high["annotations"]["severity"]) == ("warning", "critical")


def test_foreign_names_are_one_line() -> None:
    labels = sent(facts=FACTS.model_copy(update={"team": "a\nb\x1b[31m", "app": "x" * 500}))["commonLabels"]
    assert labels["team"] == "a b [31m"
    assert len(labels["app"]) == 80


async def test_the_secret_is_a_bearer_token() -> None:
    async with serving(lambda *_: "") as server:
        channel = build("alertmanager", server.url)
        await channel.deliver(incident(), None)
        await channel.close()
    assert server.arrived[0].headers["Authorization"] == f"Bearer {NETWORKED['alertmanager'].secret}"
    assert server.arrived[0].json["receiver"] == "ops"
