"""The threat model names tests that exist, and finds the keys that have nothing against a threat."""

from __future__ import annotations

from pathlib import Path

import pytest

from controls.blast_radius import Exposure, radius
from controls.posture import WORDS, Control, Posture, of_life
from controls.threats import THREATS, open_threats
from schemas.key_record import KeyRecord
from service.threat_page import page

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
NOW_MS = 1_795_428_000_000


def key(name: str, *controls: Control, usd_per_min: float = 10, **known: object) -> Posture:
    entry = KeyRecord.model_validate({
        "key_id": name, "seq": 0, "at_ms": 0, "by": "b", "change": "c", "kind": "registered", "state": "active",
        "provider": "openai",
    } | known)  # fmt: skip
    exposure = Exposure(name, "prod", 100, usd_per_min, "assumed")
    return Posture(entry, frozenset(controls), exposure, radius(exposure))


@pytest.mark.parametrize("proof", sorted({proof for threat in THREATS for proof in threat.proofs}))
def test_a_threat_is_proved_by_tests_that_exist(proof: str) -> None:
    assert (ROOT / proof).is_file()


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "threat-model.md").read_text() == f"{page()}\n"


def test_names_are_unique_and_each_control_bounds_something() -> None:
    assert len({threat.name for threat in THREATS}) == len(THREATS)
    assert {control for threat in THREATS for control in threat.limits} == set(WORDS)


def test_a_key_is_open_to_a_threat_when_none_of_its_controls_holds() -> None:
    found = {each.threat.name: each for each in open_threats([key("a", "owner"), key("b", usd_per_min=20)])}
    assert [each.entry.key_id for each in found["orphan"].bare] == ["b"]
    assert [each.entry.key_id for each in found["burst"].bare] == ["b", "a"]
    assert found["burst"].day_usd == 30 * 1440
    assert ("owner", 1) in found["orphan"].held


def test_a_control_of_the_gate_counts_only_where_a_thief_has_to_pass_it() -> None:
    around, through = key("a", "models", "length"), key("b", "models", "length", "gate")
    found = {each.threat.name: each for each in open_threats([around, through])}
    assert [each.entry.key_id for each in found["stuffing"].bare] == ["a"]
    assert not around.prevents("models")
    assert around.holds("models")


def test_the_dearest_hole_comes_first() -> None:
    sums = [each.day_usd for each in open_threats([key("a", "owner", "limits"), key("b", "backup")])]
    assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize(
    ("known", "controls"),
    [
        ({}, set()),
        ({"owner": "ann", "purpose": "p", "backup": "k2", "expires_ms": 1}, {"owner", "purpose", "backup", "expiry"}),
        ({"rotate_every_days": 10, "rotated_ms": NOW_MS - 9 * DAY_MS}, {"rotation"}),
        ({"rotate_every_days": 10, "rotated_ms": NOW_MS - 11 * DAY_MS}, set()),
        ({"rotate_every_days": 10}, set()),
        ({"revalidated_ms": NOW_MS - 89 * DAY_MS}, {"revalidation"}),
        ({"revalidated_ms": NOW_MS - 91 * DAY_MS}, set()),
    ],
)
def test_what_a_keys_own_record_says(known: dict[str, object], controls: set[str]) -> None:
    entry = key("a", **known).entry  # type: ignore[arg-type]
    assert of_life(entry, at_ms=NOW_MS, revalidate_every_ms=90 * DAY_MS) == controls
