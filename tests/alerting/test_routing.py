"""The first route wins; nobody is never the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.routing import route
from schemas.config import RoutesConfig
from schemas.config.routes import ChannelConfig, RouteConfig
from schemas.records import Severity
from tests.alerting.world import FACTS, incident

CHANNELS = {name: ChannelConfig(kind="slack", target="C1") for name in ("pager", "search", "all")}


def config(*routes: dict[str, Any]) -> RoutesConfig:
    return RoutesConfig(channels=CHANNELS, routes=tuple(RouteConfig(**each) for each in routes))


CRITICAL = {"min_severity": "critical", "channels": ["pager"]}
SEARCH = {"teams": ["search"], "channels": ["search"]}
DEV = {"envs": ["dev"], "channels": ["all"]}


@pytest.mark.parametrize(
    ("case", "routes", "severity", "expected"),
    [
        ("the first wins", [CRITICAL, SEARCH], "critical", ["pager"]),
        ("not severe enough for the first", [CRITICAL, SEARCH], "warning", ["search"]),
        ("continue", [CRITICAL | {"continue": True}, SEARCH, {"channels": ["all"]}], "critical", ["pager", "search"]),
        ("a channel twice is told once", [SEARCH | {"continue": True}, {"channels": ["search", "all"]}], "info",
         ["search", "all"]),
        ("no route takes it", [DEV], "critical", ["pager", "search", "all"]),
        ("no routes at all", [], "info", ["pager", "search", "all"]),
        ("a route to nowhere", [{"channels": ["gone"]}], "info", ["pager", "search", "all"]),
    ],
)  # fmt: skip
def test_routes(case: str, routes: list[dict[str, Any]], severity: Severity, expected: list[str]) -> None:
    deliveries = route(incident(severity=severity), config(*routes))
    assert [each.channel for each in deliveries] == expected, case
    assert all(each.reason for each in deliveries)


def test_a_channel_that_shows_the_incident_is_kept_up_to_date() -> None:
    deliveries = route(incident(severity="critical"), config(CRITICAL, SEARCH), told=["search", "gone"])
    assert [each.channel for each in deliveries] == ["pager", "search"]
    assert "kept up to date" in deliveries[1].reason


def test_without_channels_there_is_nobody_to_tell() -> None:
    assert route(incident(), RoutesConfig()) == ()


scopes = st.lists(st.sampled_from(["search", "ads", "prod", "dev"]), max_size=2)
routes = st.builds(
    lambda teams, envs, severity, channels, on: RouteConfig(
        teams=tuple(teams), envs=tuple(envs), min_severity=severity, channels=tuple(channels), **{"continue": on}
    ),
    scopes, scopes, st.sampled_from(["info", "warning", "critical"]),
    st.lists(st.sampled_from(["pager", "search", "all", "gone"]), min_size=1, max_size=3), st.booleans(),
)  # fmt: skip


@given(st.lists(routes, max_size=5), st.sampled_from(["info", "warning", "critical"]), st.sampled_from(["search", "x"]))
def test_somebody_is_always_told_and_each_once(some: list[RouteConfig], severity: Severity, team: str) -> None:
    one = incident(severity=severity, facts=FACTS.model_copy(update={"team": team}))
    names = [each.channel for each in route(one, RoutesConfig(channels=CHANNELS, routes=tuple(some)))]
    assert names
    assert len(names) == len(set(names))
    assert set(names) <= set(CHANNELS)
