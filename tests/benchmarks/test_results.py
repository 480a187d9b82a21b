"""The figures in docs/benchmarks.md are those that were measured. No time is asserted here."""

from __future__ import annotations

from statistics import median
from typing import Any

import orjson
import pytest

from benchmarks import run as measured
from benchmarks.table import PAGE, PIECES, RESULTS, render, results, shown, summary
from benchmarks.table_load import section
from benchmarks.workload import FIELDS, THIEVES, Workload, events, packed, partitioned
from schemas.event import UsageEvent

STABLE = [
    ("scoring_path", "events_per_s"),
    ("scoring_path", "events_per_cpu_s"),
    ("end_to_end", "events_per_s"),
    ("end_to_end", "events_per_cpu_s"),
    ("end_to_end", "ratio_naive"),
    ("end_to_end", "ratio_bare"),
    ("end_to_end", "ratio_quix"),
]


@pytest.mark.parametrize(("piece", "name"), STABLE)
def test_a_result_has_its_stable_name_and_its_samples(piece: str, name: str) -> None:
    figure = results()[piece][name]
    assert len(figure["samples"]) >= 3
    assert figure["median"] == pytest.approx(median(figure["samples"]), rel=1e-3)


def test_the_summary_names_each_figure_in_full() -> None:
    written = orjson.loads((RESULTS / "summary.json").read_bytes())
    assert written == orjson.loads(orjson.dumps(summary(results())))
    assert {f"{piece}.{name}" for piece, name in STABLE} <= set(written)


@pytest.mark.parametrize(("piece", "name"), STABLE)
def test_the_page_shows_the_figure(piece: str, name: str) -> None:
    assert f"| {shown(results()[piece][name]['median'])} |" in PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_results_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(results())


@pytest.mark.parametrize("piece", results())
def test_a_result_names_its_machine(piece: str) -> None:
    machine = results()[piece]["machine"]
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["python"].startswith("3.")


def test_every_piece_has_a_way_to_be_measured_and_a_place_on_the_page() -> None:
    assert set(PIECES) == set(measured.PIECES)
    assert {"scoring_path", "end_to_end", "stages", "gate"} <= set(results())


def test_the_page_tells_of_load_and_time() -> None:
    at = {"p50": 40.0, "p99": 180.5, "p999": 220.0, "max": 221.0}
    figure = {"median": 100_000.0, "spread": 0.1, "samples": [100_000.0]}
    start = {"ready_s": 4.5, "python_s": 1.0, "joined_s": 2.0, "restored_s": 1.5, "rss_mb": 900}
    rates = {"events_per_s": figure, "events_per_cpu_s": figure}
    half = {
        "load": 0.5, "per_s": 50_000.0, "event_to_finding_ms": at, "finding_to_call_ms": at, "thefts": 60,
        "late_ms": {"p99": 3.0},
    }  # fmt: skip
    page = section({
        "latency": {"capacity_per_s": 100_000.0, "loads": [half], "together": [half]},
        "recovery": {"fills": [{"keys": 100_000, "state_mb": 40.5, "after_kill": start, "without_disk": start}]},
        "growth": {
            "idle_keys": {"1000": {"events_per_cpu_s": figure, "rss_bytes_per_key": 4500}},
            "events_per_record": {"1": rates}, "workers": {"2": rates},
        },
        "soak": {
            "sent": 9, "minutes": 30, "rss_mb": 400.0, "slope_mb_per_hour": 0.5, "last_third_over_second_mb": -1.0,
        },
        "burst": {
            "sizes": {"times": 20.0, "seconds": 120.0}, "rss_bound_mb": 300.0,
            "kafka": {
                "of_a_core": 0.021, "takes_per_s": 900, "offered_per_s": 18_000, "sent": 2_160_000, "rows": 2_260_000,
                "sent_in_all": 2_260_000, "dead_letters": 0, "rss_before_mb": 700.0, "rss_most_mb": 720.5,
                "drained_s": 40.0, "archived_meanwhile": 108_000,
            },
            "intake": {
                "of_a_core": 0.05, "takes_per_s": 1_500, "offered_per_s": 30_000, "requests": 7_200,
                "events_in_request": 500, "statuses": {"202": 300, "429": 6_898}, "rows": 150_500, "of_others": 500,
                "accepted": 150_000, "rss_before_mb": 320.0, "rss_most_mb": 350.0,
            },
        },
    })  # fmt: skip
    assert "| 50% | 50,000 | 40 / 180.5 / 220 | 40 / 180.5 / 220 | 60 | 3 ms |" in page
    assert "| 50%, all in one process | 50,000 |" in page
    assert "| 100,000 | 40.5 | process and disk | 4.5 | 1 | 2 | 1.5 | 900 |" in page
    assert "| 1,000 | 100,000 | 4,500 |" in page
    assert "| 2 | 100,000 | 100,000 |" in page
    assert "-1 MB over the second" in page
    assert "| 300 / 6,898 / 2 |" in page
    assert "| 2,260,000 rows of 2,260,000 events | 150,000 rows of 150,000 accepted events |" in page
    assert "| 700.0 → 720.5 | 320.0 → 350.0 |" in page
    assert section({}) == ""


def test_the_ratios_are_of_the_same_repetition() -> None:
    piece = results()["end_to_end"]
    pairs = zip(piece["events_per_s"]["samples"], piece["bare"]["events_per_s"]["samples"], strict=True)
    assert piece["ratio_bare"]["samples"] == pytest.approx([ours / theirs for ours, theirs in pairs], rel=2e-3)


def _some() -> list[tuple[str, dict[str, Any]]]:
    return [(key_id, orjson.loads(value)) for key_id, value in events(Workload(2_000, keys=50))]


def test_the_events_measured_with_are_valid() -> None:
    for key_id, event in _some():
        assert len(event) == FIELDS
        assert UsageEvent.model_validate(event).key_id == key_id


def test_the_events_are_the_same_each_time_and_none_comes_twice() -> None:
    some = _some()
    assert some == _some()
    assert len({event["event_id"] for _, event in some}) == len(some)


def test_all_events_of_a_key_are_in_one_partition() -> None:
    placed = partitioned(events(Workload(2_000, keys=50)), 4)
    of = [{orjson.loads(value)["key_id"] for value in values} for values in placed]
    assert sum(map(len, of)) == len(set().union(*of)) == 50
    assert sum(map(len, placed)) == 2_000


def test_packing_loses_nothing() -> None:
    values = [b"%d" % number for number in range(7)]
    assert b"\n".join(packed(values, 3)).split(b"\n") == values


def test_the_planted_keys_spend_much_more_than_their_limit() -> None:
    tokens: dict[str, int] = {}
    for key_id, event in _some():
        tokens[key_id] = tokens.get(key_id, 0) + event["input_tokens"]
    ordered = sorted(tokens.values(), reverse=True)
    assert ordered[THIEVES - 1] > 20 * ordered[THIEVES]
