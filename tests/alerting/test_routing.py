"""The first route wins; nobody is never the answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alerting.quiet import quiet_until_ms
from alerting.routing import Delivery, plan
from schemas.config import RoutesConfig
from schemas.config.routes import ChannelConfig, QuietHoursConfig, RouteConfig
from schemas.records import Incident, IncidentState, Severity
from tests.alerting.world import FACTS, incident, ms

CHANNELS = {name: ChannelConfig(kind="slack", target="C1") for name in ("pager", "search", "all")}


def config(*routes: dict[str, Any]) -> RoutesConfig:
    return RoutesConfig(channels=CHANNELS, routes=tuple(RouteConfig(**each) for each in routes))


NOON_MS = ms(7200)  # 12:00 UTC, 13:00 in Berlin; the incidents here opened at 10:00 UTC


def route(one: Incident, routes: RoutesConfig, told: Sequence[str] = (), at_ms: int = NOON_MS) -> tuple[Delivery, ...]:
    return plan(one, routes, now_ms=at_ms, told=told).now


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


MINUTE_MS = 60_000
CHAIN = {
    "channels": ["search"],
    "escalate": [{"after_min": 15, "to": ["pager"]}, {"after_min": 60, "to": ["all", "gone"]}],
}
NIGHT = {"timezone": "Europe/Berlin", "from": "22:00", "until": "07:00"}
QUIET = {"channels": ["search"], "quiet_hours": NIGHT}


def berlin_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)


@pytest.mark.parametrize(
    ("after_min", "names", "again_min"),
    [(0, ["search"], 15), (14.9, ["search"], 15), (15, ["search", "pager"], 60), (60, ["search", "pager", "all"], None),
     (10_000, ["search", "pager", "all"], None)],
)  # fmt: skip
def test_an_incident_that_nobody_acknowledges_goes_up_the_chain(
    after_min: float, names: list[str], again_min: int | None
) -> None:
    opened_ms = incident().opened_at_ms
    found = plan(incident(), config(CHAIN), now_ms=opened_ms + round(after_min * MINUTE_MS))
    assert [each.channel for each in found.now] == names
    assert found.again_ms == (None if again_min is None else opened_ms + again_min * MINUTE_MS)


def test_who_had_it_in_hand_has_time_again_when_it_opens_again() -> None:
    again = incident(asked_since_ms=ms(7200))
    assert [each.channel for each in plan(again, config(CHAIN), now_ms=ms(7200 + 60)).now] == ["search"]
    assert [each.channel for each in plan(again, config(CHAIN), now_ms=ms(7200 + 900)).now] == ["search", "pager"]


@pytest.mark.parametrize("state", ["acknowledged", "contained", "resolved", "false_positive"])
def test_once_somebody_acts_nobody_else_is_woken_and_who_knows_is_told(state: IncidentState) -> None:
    found = plan(incident(state=state), config(CHAIN), now_ms=ms(9999), told=["search", "pager"])
    assert ([each.channel for each in found.now], found.again_ms) == (["search", "pager"], None)


def at_night(severity: Severity, clock: str = "2026-11-24T03:00", told: Sequence[str] = (), **changes: Any) -> Any:
    at_ms = berlin_ms(clock)
    one = incident(severity=severity, **{"opened_at_ms": at_ms, **changes})
    return plan(one, config(QUIET | {"escalate": CHAIN["escalate"]}), now_ms=at_ms, told=told)


@pytest.mark.parametrize("severity", ["info", "warning"])
def test_at_night_what_is_not_critical_waits_for_the_morning(severity: Severity) -> None:
    assert at_night(severity) == ((), berlin_ms("2026-11-24T07:00"))
    assert [each.channel for each in at_night(severity, "2026-11-24T07:00").now] == ["search"]


def test_critical_is_told_at_night() -> None:
    assert [each.channel for each in at_night("critical").now] == ["search"]


def test_news_that_ask_nobody_to_get_up_are_told_to_who_knows() -> None:
    assert [each.channel for each in at_night("warning", told=["search"], state="resolved").now] == ["search"]
    assert at_night("warning", told=["search"]).now == ()


def test_the_chain_of_what_was_held_begins_in_the_morning() -> None:
    opened_ms = berlin_ms("2026-11-24T03:00")
    in_the_morning = at_night("warning", "2026-11-24T07:01", opened_at_ms=opened_ms)
    assert [each.channel for each in in_the_morning.now] == ["search"]
    assert in_the_morning.again_ms == berlin_ms("2026-11-24T07:15")


def test_another_route_without_quiet_hours_is_told_at_once() -> None:
    routes = config(QUIET | {"continue": True}, {"channels": ["all"]})
    found = plan(incident(severity="info"), routes, now_ms=berlin_ms("2026-11-24T03:00"))
    assert [each.channel for each in found.now] == ["all"]


@pytest.mark.parametrize(
    ("at", "end"),
    [
        ("2026-11-23T21:59", None), ("2026-11-23T22:00", "2026-11-24T07:00"), ("2026-11-24T06:59", "2026-11-24T07:00"),
        ("2026-11-24T07:00", None), ("2026-03-28T23:00", "2026-03-29T07:00"), ("2026-10-24T23:00", "2026-10-25T07:00"),
    ],
)  # fmt: skip
def test_nights_end_by_the_clock_on_the_wall_also_when_it_changes(at: str, end: str | None) -> None:
    hours = QuietHoursConfig(**NIGHT)
    assert quiet_until_ms(hours, berlin_ms(at)) == (None if end is None else berlin_ms(end))


def test_in_the_hour_that_comes_twice_the_end_lies_ahead() -> None:
    """Berlin, 25 October: 03:00 is followed by 02:00, so 01:15 UTC is the second 02:15."""
    hours = QuietHoursConfig(**{**NIGHT, "until": "02:30"})
    at = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert quiet_until_ms(hours, round(at.timestamp() * 1000)) == round(at.timestamp() * 1000) + 15 * MINUTE_MS


@pytest.mark.parametrize(
    "hours",
    [{"from": "22:00"}, {"until": "07:00"}, {"from": "07:00", "until": "07:00"}, {"from": "24:00", "until": "07:00"},
     {**NIGHT, "timezone": "Europe/Nowhere"}, {**NIGHT, "timezone": "../etc/passwd"}],
)  # fmt: skip
def test_hours_that_make_no_sense_are_refused(hours: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        QuietHoursConfig(**hours)


@given(
    st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 366 * 1440),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)  # fmt: skip
def test_a_quiet_time_ends_within_a_day_and_is_over_then(start: int, end: int, minute: int, zone: str) -> None:
    if start == end:
        return
    clock = {"from": f"{start // 60:02}:{start % 60:02}", "until": f"{end // 60:02}:{end % 60:02}"}
    hours = QuietHoursConfig(timezone=zone, **clock)
    at_ms = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000) + minute * MINUTE_MS
    until_ms = quiet_until_ms(hours, at_ms)
    assert until_ms is None or at_ms < until_ms <= at_ms + 26 * 60 * MINUTE_MS


@given(st.lists(routes, max_size=4), st.sampled_from(["info", "warning", "critical"]), st.integers(0, 3 * 1440))
def test_nobody_is_never_the_answer_also_at_night(some: list[RouteConfig], severity: Severity, minute: int) -> None:
    hours = QuietHoursConfig(**NIGHT)
    quiet = tuple(one.model_copy(update={"quiet_hours": hours}) for one in some)
    found = plan(incident(severity=severity), RoutesConfig(channels=CHANNELS, routes=quiet), now_ms=ms(minute * 60))
    assert found.now or found.again_ms
