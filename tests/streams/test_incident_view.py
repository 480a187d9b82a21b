"""What is open, for those who are asked by an incident's id alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Incident
from streams.incident_view import IncidentView
from tests.alerting.world import incident


def version(name: str, seq: int, **changes: object) -> Incident:
    return incident(incident_id=f"inc_{name}", key_id=f"key_{name[0]}", seq=seq, **changes)


def seen(*incidents: Incident, most: int = 100) -> IncidentView:
    view = IncidentView(most)
    for each in incidents:
        view.take(each.to_bytes())
    return view


@given(st.permutations([version("a", 1), version("a", 2), version("a", 3), version("b", 1)]))
def test_the_newest_version_counts_in_whatever_order_they_come(versions: list[Incident]) -> None:
    view = seen(*versions, *versions)
    assert view.get("inc_a") == version("a", 3)
    assert view.get("inc_b") == version("b", 1)


def test_a_repeat_and_an_older_version_are_no_news() -> None:
    view = IncidentView()
    told = [view.take(version("a", seq).to_bytes()) for seq in (1, 1, 3, 2)]
    assert told == [True, False, True, False]


def test_a_key_is_known_by_its_newest_incident() -> None:
    first, second = version("a1", 4, opened_at_ms=1000, state="resolved"), version("a2", 1, opened_at_ms=2000)
    assert seen(second, first).of_key("key_a") == second
    assert seen(first).of_key("key_a") == first
    assert seen(first).of_key("key_b") is None


def test_what_is_open_comes_most_recently_changed_first() -> None:
    view = seen(version("a", 1), version("b", 1), version("c", 1, state="resolved"), version("a", 2))
    assert [each.incident_id for each in view.open()] == ["inc_a", "inc_b"]


def test_it_is_bounded_and_forgets_what_changed_least_recently() -> None:
    view = seen(version("a", 1), version("b", 1), version("a", 2), version("c", 1), most=2)
    assert [view.get(f"inc_{name}") is None for name in "abc"] == [False, True, False]
    assert view.of_key("key_b") is None


def test_it_is_complete_once_what_was_there_has_been_read() -> None:
    view = seen(version("a", 1))
    assert not view.complete()
    view.filled.set()
    assert view.complete()


def test_what_is_no_incident_changes_nothing() -> None:
    view = seen(version("a", 1))
    assert not view.take(b"not an incident")
    assert view.get("inc_a") == version("a", 1)
