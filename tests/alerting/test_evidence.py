"""What an incident knows of its evidence: the newest sketch, what changed, and how much each family weighs."""

from __future__ import annotations

import json

import pytest

from alerting.channels.slack import render
from alerting.message import message, plain, weights
from alerting.runbook import by_weight
from schemas.records import Finding, Incident, Scaled, Sketch
from tests.alerting.world import command, finding, found, incident, only, shown_step, sketched

EARLY, LATE = sketched(windows=1), sketched(windows=2)


def test_the_incident_carries_the_newest_sketch() -> None:
    opened = found(None, finding(0, sketch=EARLY))
    assert only(opened).sketch == EARLY
    fed = found(opened.case, finding(60, "origin", sketch=LATE))
    assert only(fed).sketch == LATE


def test_a_late_finding_and_one_without_a_sketch_leave_it() -> None:
    case = found(None, finding(60, sketch=LATE)).case
    assert only(found(case, finding(0, "origin", sketch=EARLY))).sketch == LATE
    assert only(found(case, finding(90, "budget"))).sketch == LATE


def test_a_family_weighs_as_much_as_its_strongest_finding() -> None:
    case = found(None, finding(0, score=6.0)).case
    for at_s, family, score in ((60, "velocity", 9.0), (120, "velocity", 4.0), (180, "origin", 5.0)):
        case = found(case, finding(at_s, family, score=score)).case
    assert case.incident is not None
    assert case.incident.scores == {"velocity": 9.0, "origin": 5.0}


def test_certain_limits_count_first_then_the_rarest() -> None:
    one = incident(families=("mix", "velocity", "policy"), scores={"mix": 3.14, "velocity": 9.26, "policy": 1.6})
    assert by_weight(one) == ("policy", "velocity", "mix")
    assert weights(one) == "policy (certain), velocity 9.3, mix 3.1; one point more is ten times rarer"
    assert [family for family, _ in message(one).reasons] == ["policy", "velocity", "mix"]


def test_the_message_says_what_changed_and_what_it_weighs() -> None:
    one = incident(sketch=sketched(), scores={"velocity": 9.0, "economics": 4.0})
    text, blocks = plain(one), str(render(one)[1])
    for words in ("new network 203.0.113.0/24; new model gpt-5-pro, 96 % of spend", "velocity 9.0, economics 4.0"):
        assert words in text
        assert words in blocks


def test_without_a_sketch_nothing_is_said_of_it() -> None:
    labels = [label for label, _ in message(incident()).facts]
    assert "What changed" not in labels
    assert "Weight" not in labels


@pytest.mark.parametrize("old", [finding(), incident()], ids=["finding", "incident"])
def test_records_from_before_the_sketch_are_still_read(old: Finding | Incident) -> None:
    fields = json.loads(old.to_bytes())
    for name in ("sketch", "scores"):
        fields.pop(name, None)
    assert type(old).from_bytes(json.dumps(fields).encode()) == old


def test_an_incident_with_many_steps_and_reasons_stays_below_four_kilobytes() -> None:
    full = Scaled(unit=0.001234, counts=(998,) * 60)
    sketch = sketched(minutes=full, tens=Scaled(unit=0.01234, counts=(998,) * 144), changed=("a" * 50,) * 6)
    families = ("velocity", "origin", "mix", "policy")
    steps = tuple(shown_step(command_id=command().command_id, detail="effective after 4.2 s") for _ in range(3))
    one = incident(
        sketch=sketch, families=families, reasons=dict.fromkeys(families, "x" * 180), headline="x" * 180,
        scores=dict.fromkeys(families, 12.34), steps=steps, transition="x" * 200,
    )  # fmt: skip
    assert len(one.to_bytes()) < 4096


def test_a_sketch_survives_its_json() -> None:
    one = sketched(tens=Scaled.of([-1.0, 0.0, 0.3, 12.5]))
    assert Sketch.from_bytes(one.to_bytes()) == one
    assert one.tens.values[0] is None
    assert one.tens.values[1:] == pytest.approx((0.0, 0.3, 12.5), rel=1e-2)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0], [1e-12], [1e15, 1e-3], [5e-324]])
def test_any_numbers_can_be_scaled(values: list[float]) -> None:
    scaled = Scaled.of(values)
    assert len(scaled.counts) == len(values)
    assert all(-1 <= count <= 1000 for count in scaled.counts)
