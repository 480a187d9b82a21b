"""The incident of a budget: all that is new of it is told, nothing is cut, and it reads like a budget everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.budgets import NO_KEY
from alerting.case import KeyCase
from alerting.channels.base import DeliveryState
from alerting.channels.slack_blocks import render
from alerting.illustrate import occasion
from alerting.message import message, plain
from alerting.ocsf import detection_finding
from alerting.picture import caption, picture
from alerting.routing import plan
from alerting.silence import on_silence
from schemas.config.routes import ChannelConfig, RouteConfig, RoutesConfig
from schemas.records import BudgetView, Finding, Incident, KeyFacts, Scaled, Severity
from streams.decide_core import Decider, offers
from tests.alerting.world import BUDGETS, RESPONSES, found, ms, only, request

NAME = "budget:search in production"
DAY_MS = 86_400_000


def view(**changes: Any) -> BudgetView:
    values: dict[str, Any] = {
        "budget": "search in production", "scope": "team=search env=prod", "owner": "ann", "unit": "usd",
        "period": "2026-11", "at_ms": ms(0), "from_ms": ms(0) - 22 * DAY_MS, "until_ms": ms(0) + 8 * DAY_MS,
        "spent": 240.0, "limit": 300.0, "projected": 330.0, "per_hour": 1.5, "thresholds": (50, 80, 95), "stops": True,
        "step_s": 86_400, "steps": Scaled.of([10.9] * 22),
    }  # fmt: skip
    return BudgetView(**(values | changes))


def said(detector: str, at_s: float, severity: Severity = "info", **changes: Any) -> Finding:
    return Finding(
        finding_id=f"{detector} {at_s}", at_ms=ms(at_s), key_id=NAME, family="budget", detector=detector,
        severity=severity, score=0.8, certain=False, reason=f"search in production: {detector}", evidence={},
        usd_per_min=0.025, expected_usd_per_min=0.007, budget=view(**changes),
        facts=KeyFacts(provider="", team="search", env="prod"),
    )  # fmt: skip


def life(*findings: Finding) -> tuple[KeyCase, list[Incident]]:
    case, told = None, list[Incident]()
    for finding in findings:
        change = found(case, finding)
        case, told = change.case, [*told, *change.incidents]
    assert case is not None
    return case, told


def shown(**changes: Any) -> Incident:
    return life(said("soft_80", 0, "warning", **changes))[1][0]


def test_each_thing_is_told_though_the_severity_is_the_same() -> None:
    _, told = life(said("soft_50", 0), said("soft_80", 10), said("soft_80", 10), said("soft_95", 20, "warning"))
    assert [one.transition for one in told] == [
        "Search in production: soft_50. (info)", "Search in production: soft_80.", "Search in production: soft_95.",
    ]  # fmt: skip
    assert len({one.incident_id for one in told}) == 1
    assert (told[-1].severity, told[-1].headline) == ("warning", "search in production: soft_95")


def test_a_fire_that_goes_on_is_told_once_in_its_incident_and_keeps_it_open() -> None:
    case, told = life(*(said("burn_1h", at_s, "critical") for at_s in (0, 900, 1800)))
    assert len(told) == 1
    assert on_silence(case, ms(2000), responses=RESPONSES).incidents == ()
    over = only(on_silence(case, ms(1800) + 1_800_000, responses=RESPONSES))
    assert (over.state, over.transition) == ("resolved", "Resolved: nothing new of this budget for 30 min.")


def test_a_budget_that_is_used_up_stays_open_until_its_period_ends() -> None:
    case, _ = life(said("used_up", 0, "critical", used_up=True, spent=300.0))
    assert on_silence(case, ms(0) + 7 * DAY_MS, responses=RESPONSES).incidents == ()
    assert only(on_silence(case, ms(0) + 8 * DAY_MS, responses=RESPONSES)).state == "resolved"


def test_what_gets_worse_wakes_who_had_the_milder_thing_in_hand() -> None:
    case, _ = life(said("soft_80", 0))
    assert case.incident is not None
    case = case.model_copy(update={"incident": case.incident.model_copy(update={"state": "acknowledged"})})
    assert only(found(case, said("soft_95", 5))).state == "acknowledged"
    assert only(found(case, said("used_up", 5, "critical"))).state == "open"


@pytest.mark.parametrize("mode", ["observe", "approve", "auto"])
def test_no_step_is_ever_ordered_on_a_budget(mode: str) -> None:
    decider = Decider(RESPONSES.model_copy(update={"mode": mode}), BUDGETS, offers({}))
    decision = decider.finding(None, said("used_up", 0, "critical", used_up=True))
    assert (len(decision.incidents), decision.commands) == (1, ())


@pytest.mark.parametrize("action", ["contain", "approve", "reject", "restore", "expected", "false_positive"])
def test_what_people_ask_of_keys_is_refused_in_words(action: str) -> None:
    decider = Decider(RESPONSES, BUDGETS, offers({}))
    case = decider.finding(None, said("used_up", 0, "critical")).case
    facts = KeyFacts(provider="")
    decision = decider.request(case, request(action, key_id=NAME, facts=facts))
    assert (decision.commands, decision.incidents, decision.reason) == ((), (), NO_KEY)
    assert [row.result for row in decision.audit] == ["refused"]


def test_people_can_acknowledge_and_close_it() -> None:
    decider = Decider(RESPONSES, BUDGETS, offers({}))
    case = decider.finding(None, said("used_up", 0, "critical", used_up=True)).case
    taken = decider.request(case, request("acknowledge", 1, key_id=NAME))
    assert taken.incidents[0].state == "acknowledged"
    assert decider.request(taken.case, request("resolve", 2, key_id=NAME)).incidents[0].state == "resolved"


def test_the_message_shows_the_budget_and_nothing_of_keys() -> None:
    text = message(shown(degrade={"gpt-4.1": "gpt-4.1-mini"}))
    assert text.title == "WARNING, open: budget search in production, team=search env=prod"
    assert dict(text.facts) | {"Incident": "", "What to do": ""} == {
        "Budget": "search in production: team=search env=prod",
        "Spent": "$240.00: ████████████████░░░░ 80% of $300.00 in 2026-11", "At this pace": "$330.00 by 2026-12-01",
        "Last hour": "$1.50", "When it is used up": "gates refuse its calls", "Cheaper now": "gpt-4.1 → gpt-4.1-mini",
        "Owner": "ann", "Incident": "", "What to do": "",
    }  # fmt: skip
    assert "Mode" not in plain(shown())


def test_slack_offers_nothing_that_acts_on_a_key() -> None:
    _, blocks = render(shown(), buttons="Europe/Berlin")
    assert [each["action_id"] for each in blocks[-1]["elements"]] == ["keyfuse_acknowledge", "keyfuse_snooze"]


def test_its_picture_is_due_like_any_other_and_says_what_it_shows() -> None:
    one = shown(unit="tokens", spent=310, limit=300, used_up=True, projected=None)
    assert occasion(one, DeliveryState(channel="c", incident_id="i", seq=1, state="open", ids={}), None) == "opened"
    png = picture(one, dpi=50)
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert caption(shown()).startswith("Spend of the budget search in production in its period 2026-11: ████")


def test_a_siem_gets_a_budget_as_a_budget() -> None:
    assert detection_finding(shown())["resources"] == [
        {"uid": NAME, "type": "Budget", "name": "search in production", "group": {"name": "search"}}
    ]


@pytest.mark.parametrize(("severity", "channels"), [("info", ["team"]), ("warning", ["team", "finance"])])
def test_a_budget_escalates_to_its_own_channels_besides_the_route(severity: Severity, channels: list[str]) -> None:
    routes = RoutesConfig(
        channels={name: ChannelConfig(kind="webhook", target="x") for name in ("team", "finance", "others")},
        routes=(RouteConfig(teams=("search",), channels=("team",)),),
    )
    one = shown().model_copy(update={"severity": severity})
    planned = plan(one, routes, now_ms=ms(0), besides={"search in production": ("finance", "nobody")})
    assert [each.channel for each in planned.now] == channels
