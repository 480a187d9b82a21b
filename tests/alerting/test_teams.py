"""Teams: a card for each version, in which no foreign text is more than text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from alerting.channels.errors import Reason, Refused, Retryable
from alerting.channels.teams import card
from tests.alerting.kinds import build
from tests.alerting.servers import Answer, serving
from tests.alerting.world import FACTS, WORDS, incident, shown_step

RUNBOOKS = "https://wiki.example.com/keyfuse/{family}"


def content(**changes: Any) -> dict[str, Any]:
    (attachment,) = card(incident(**changes), RUNBOOKS)["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    shown: dict[str, Any] = attachment["content"]
    assert (shown["type"], shown["version"]) == ("AdaptiveCard", "1.4")
    return shown


def texts(shown: dict[str, Any]) -> list[str]:
    return ["".join(run["text"] for run in block["inlines"]) for block in shown["body"]]


def test_the_card_says_what_every_channel_says() -> None:
    shown = content(steps=(shown_step(),))
    lines = texts(shown)
    assert lines[0].startswith("CRITICAL, open: openai key fp1:0123456789abcdef of search/ranker (prod)")
    assert lines[1] == WORDS["velocity"]
    assert "Spends now: $3.00/min, normally $0.10/min" in lines
    assert any(line.startswith("• disable at the provider: confirmed") for line in lines)
    assert shown["actions"] == [
        {"type": "Action.OpenUrl", "title": "What to do", "url": "https://wiki.example.com/keyfuse/velocity"}
    ]


def test_foreign_text_stands_in_runs_that_know_no_markdown() -> None:
    evil = "[click](https://evil.example) <at>everyone</at> **now**"
    shown = content(headline=evil, transition=evil, facts=FACTS.model_copy(update={"team": evil, "app": evil}))
    assert {block["type"] for block in shown["body"]} == {"RichTextBlock"}
    assert {run["type"] for block in shown["body"] for run in block["inlines"]} == {"TextRun"}
    assert [action["url"] for action in shown["actions"]] == ["https://wiki.example.com/keyfuse/velocity"]
    assert "entities" not in json.dumps(card(incident(headline=evil), RUNBOOKS))


def test_the_largest_incident_fits() -> None:
    steps = tuple(shown_step(command_id=f"c{number}", detail="ü" * 400) for number in range(32))
    families = ("velocity", "economics", "mix", "origin", "rhythm", "errors", "drift", "policy", "budget", "cohort")
    shown = card(incident(steps=steps, families=families, reasons=dict.fromkeys(families, "ü" * 400)), RUNBOOKS)
    assert len(json.dumps(shown)) < 28_000


async def test_a_workflow_answers_202_and_nothing_else() -> None:
    async with serving(lambda *_: "") as server:
        server.answers = [Answer(202)]
        channel = build("teams", server.url)
        assert (await channel.deliver(incident(), None)).seq == 1
        await channel.close()
    assert server.arrived[0].path == "/workflows/SECRETflow/triggers/manual/paths/invoke?sig=SECRETsig"
    assert server.arrived[0].json["type"] == "message"


@pytest.mark.parametrize(("status", "reason"), [(401, Reason.UNAUTHORIZED), (404, Reason.NOT_FOUND)])
async def test_a_workflow_that_is_gone_may_come_back(status: int, reason: Reason) -> None:
    async with serving(lambda *_: "") as server:
        server.answers = [Answer(status, '{"error": {"code": "DirectApiAuthorizationRequired"}}')]
        channel = build("teams", server.url)
        with pytest.raises(Retryable) as caught:
            await channel.deliver(incident(), None)
        await channel.close()
    assert caught.value.reason == reason


async def test_an_old_connector_hides_its_failure_behind_a_200() -> None:
    said = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429"
    async with serving(lambda *_: said) as server:
        channel = build("teams", server.url)
        with pytest.raises(Retryable) as caught:
            await channel.deliver(incident(), None)
        await channel.close()
    assert caught.value.reason == Reason.BAD_ANSWER


@pytest.mark.parametrize("base_url", ["http://elsewhere.example.com", "https://me:pw@elsewhere.example.com"])
def test_an_address_that_is_not_fit_is_refused_without_showing_the_secret(base_url: str) -> None:
    with pytest.raises(Refused) as caught:
        build("teams", "", base_url=base_url)
    assert "SECRET" not in str(caught.value)
