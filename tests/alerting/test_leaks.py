"""What a leak report does to a key's incident: told by the wall clock, about no use and no spend."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.answered import on_request
from alerting.case import KeyCase
from alerting.channels.slack_blocks import render
from alerting.incidents import REPEAT, Change, on_command, on_outcome
from alerting.message import message, plain
from alerting.ocsf import detection_finding
from alerting.silence import on_silence
from schemas.records import Finding, Incident, Leak, StepState, stable_id
from tests.alerting.world import RESPONSES, T0_MS, command, finding, found, ms, only, outcome, request

URL = "https://github.com/octocat/hello/blob/1/f.txt"
FAR_LATER_S = 300 * 86_400.0  # the wall clock, where the events are of last winter


def leak(at_s: float = 0, **changes: Any) -> Finding:
    told = Leak(**({"source": "github commit", "url": URL, "by": "github", "told_at_ms": ms(at_s)} | changes))
    return finding(
        at_s, "leak", finding_id=stable_id("fnd", told.url, told.verified), detector="api", score=0.0,
        severity="critical" if told.counts else "warning", reason=f"the key was found in {told.source} at {told.url}",
        usd_per_min=0.0, expected_usd_per_min=0.0, leak=told,
    )  # fmt: skip


def after(*findings: Finding) -> tuple[Change, ...]:
    case: KeyCase | None = None
    changes = []
    for one in findings:
        changes.append(found(case, one))
        case = changes[-1].case
    return tuple(changes)


def newest(*findings: Finding) -> Incident:
    incident = after(*findings)[-1].case.incident
    assert incident is not None
    return incident


def test_a_report_opens_an_incident_as_grave_as_it_says() -> None:
    opened = only(after(leak())[0])
    assert (opened.state, opened.severity, opened.families, opened.scores) == ("open", "critical", ("leak",), {})
    assert opened.only_told
    assert only(after(leak(confidence="low"))[0]).severity == "warning"


def test_without_a_leak_the_records_read_as_before() -> None:
    """A stage of the version before refuses fields that it does not know, and both run during an upgrade."""
    one = finding()
    case = after(one)[-1].case
    for record in (one, newest(one), case):
        assert b"leak" not in record.to_bytes()
        assert type(record).from_bytes(record.to_bytes()) == record
    with_leak = after(one, leak(1))[-1].case
    assert KeyCase.from_bytes(with_leak.to_bytes()) == with_leak


def test_the_same_report_again_changes_nothing_and_another_place_is_remembered_quietly() -> None:
    first, again, elsewhere = after(leak(), leak(3600), leak(60, url="https://paste.example/1"))
    assert first.incidents
    assert (again.incidents, again.reason) == ((), REPEAT)
    assert elsewhere.incidents == ()
    incident = elsewhere.case.incident
    assert incident is not None
    assert [one.url for one in incident.leaks] == [URL, "https://paste.example/1"]
    assert incident.reasons["leak"].endswith("reported by github, and in 1 more place")


def test_a_proof_of_what_was_only_said_is_told() -> None:
    *_, proved = after(leak(confidence="low"), leak(5, verified=True))
    told = only(proved)
    assert [one.verified for one in told.leaks] == [True]
    assert told.severity == "critical"
    assert "The leak is verified" in told.transition
    assert "Raised to critical: the key was found by others." in told.transition


def test_places_without_end_are_kept_to_a_few_with_the_proved_one_first() -> None:
    flood = [leak(number, url=f"https://x/{number}") for number in range(200)]
    incident = newest(*flood, leak(300, url="https://real/", verified=True))
    assert len(incident.leaks) == 5
    assert incident.leaks[0].url == "https://real/"
    assert len(after(*flood)[-1].case.leaked) == 64


@pytest.mark.parametrize("at_s", [1.0, FAR_LATER_S])
def test_a_report_says_nothing_of_the_spend_of_an_open_incident(at_s: float) -> None:
    before = newest(finding(0), finding(10, usd_per_min=6.0))
    fed = newest(finding(0), finding(10, usd_per_min=6.0), leak(at_s))
    assert set(fed.families) == {"velocity", "leak"}
    for name in ("usd_per_min", "expected_usd_per_min", "lost_usd", "last_finding_at_ms", "facts", "sketch", "scores"):
        assert getattr(fed, name) == getattr(before, name), name
    assert fed.headline == "the key was found in github commit at " + URL + ", reported by github"


@pytest.mark.parametrize("wall_s", [0.0, 20.0, FAR_LATER_S])
def test_what_the_key_spends_is_known_from_its_first_finding_whatever_the_wall_clock_says(wall_s: float) -> None:
    incident = newest(leak(wall_s), finding(10, usd_per_min=3.0), finding(70, usd_per_min=3.0))
    alone = newest(finding(10, usd_per_min=3.0), finding(70, usd_per_min=3.0))
    for name in ("usd_per_min", "lost_usd", "last_finding_at_ms"):
        assert getattr(incident, name) == getattr(alone, name), name
    assert not incident.only_told


def test_silence_does_not_end_a_leak_until_the_key_is_cut() -> None:
    case = after(finding(0), leak(1))[-1].case
    late_ms = T0_MS + 90 * 86_400_000
    assert on_silence(case, late_ms, responses=RESPONSES).incidents == ()
    case = on_command(case, command(incident_id=_id(case)), StepState.REQUESTED, at_ms=ms(2)).case
    case = on_outcome(case, outcome(incident_id=_id(case)), at_ms=ms(5)).case
    assert only(on_silence(case, late_ms, responses=RESPONSES)).state == "resolved"


def test_a_person_ends_it_and_the_same_place_opens_nothing_again() -> None:
    case = after(leak())[0].case
    closed = on_request(case, request("resolve", 60), at_ms=ms(60)).case
    assert found(closed, leak(4000)).incidents == ()
    assert found(closed, leak(120, url="https://b/")).incidents == (), "a person has just looked at it"
    assert only(found(closed, leak(4000, url="https://c/"))).state == "open"


def test_a_key_that_stays_cut_opens_nothing_wherever_it_is_found() -> None:
    case = after(leak())[0].case
    case = on_command(case, command(incident_id=_id(case)), StepState.REQUESTED, at_ms=ms(2)).case
    case = on_outcome(case, outcome(incident_id=_id(case)), at_ms=ms(5)).case
    case = on_request(case, request("resolve", 60), at_ms=ms(60)).case
    quiet = found(case, leak(90_000, url="https://c/"))
    assert (quiet.incidents, "is cut" in quiet.reason) == ((), True)


def test_it_is_shown_before_what_is_learned_and_behind_a_broken_limit() -> None:
    incident = newest(finding(0, score=9.0), leak(1), finding(2, "policy", score=1.5))
    shown = message(incident)
    assert [family for family, _ in shown.reasons] == ["policy", "leak", "velocity"]
    assert dict(shown.facts)["Weight"].startswith("policy (certain), leak (reported), velocity 9.0")
    alone = newest(leak())
    assert dict(message(alone).facts)["Spends now"] == "not known: its use was not odd so far"
    assert URL in plain(alone)
    assert message(alone).runbook.endswith("leak.md")
    assert detection_finding(newest(leak(verified=True)))["confidence_id"] == 3
    assert detection_finding(alone)["confidence_id"] == 2


def test_a_hostile_address_calls_nobody_and_is_no_link() -> None:
    evil = "https://evil.example/<!channel>|click>*b*\u202e`x`"
    _, blocks = render(newest(leak(url=evil, source="<!here>")))
    assert "<!" not in str(blocks)
    assert "<http" not in str(blocks)
    assert "\u202e" not in str(blocks)
    assert len(next(block["fields"] for block in blocks if "fields" in block)) <= 10


def _id(case: KeyCase) -> str:
    assert case.incident is not None
    return case.incident.incident_id


def test_a_report_ends_the_snooze_of_what_was_known_before() -> None:
    opened = found(None, finding(severity="warning")).case
    snoozed = on_request(opened, request("snooze", 60, until_ms=ms(6000)), at_ms=ms(60)).case
    [told] = found(snoozed, leak(90)).incidents
    assert (told.state, told.snoozed_until_ms) == ("open", None)


def test_a_snoozed_report_wakes_people_with_its_own_words() -> None:
    opened = found(None, leak(0)).case
    snoozed = on_request(opened, request("snooze", 60, until_ms=ms(600)), at_ms=ms(60)).case
    [awake] = on_silence(snoozed, ms(700), responses=RESPONSES).incidents
    assert (awake.state, "found by others and still works" in awake.transition) == ("open", True)
