"""Which keys have an open incident, whatever order and however often their versions come."""

from __future__ import annotations

from schemas.records import Incident
from streams.open_incidents import OpenIncidents
from tests.containment.build import incident


def take(known: OpenIncidents, *versions: Incident) -> list[bool]:
    return [known.take(version.key_id.encode(), version.to_bytes()) for version in versions]


def test_a_key_is_in_trouble_from_its_first_version_to_its_last() -> None:
    known = OpenIncidents()
    states = ("open", "acknowledged", "contained", "resolved", "open", "false_positive")
    seen = []
    for state in states:
        take(known, incident(state=state))
        seen.append(known.has("k1"))
    assert seen == [True, True, True, False, True, False]


def test_keys_are_told_apart_and_a_repetition_is_no_news() -> None:
    known = OpenIncidents()
    assert take(known, incident(), incident(), incident(key_id="k2"), incident(state="resolved")) == [
        True, False, True, True
    ]  # fmt: skip
    assert (known.has("k1"), known.has("k2")) == (False, True)


def test_what_is_no_incident_says_nothing() -> None:
    known = OpenIncidents()
    assert not any(known.take(b"k1", value) for value in (None, b"", b"{}", b"not json"))
    assert not known.has("k1")
