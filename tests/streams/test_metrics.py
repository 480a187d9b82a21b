"""Metrics: a closed list, each explained, each counted where it should be."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.records import DeadReason
from streams.metrics import COUNTERS, GAUGES, HISTOGRAMS, CounterName, GaugeName, HistogramName, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def test_every_name_is_explained() -> None:
    assert set(COUNTERS) == set(get_args(CounterName))
    assert set(GAUGES) == set(get_args(GaugeName))
    assert set(HISTOGRAMS) == set(get_args(HistogramName))
    for name, d in (COUNTERS | GAUGES | HISTOGRAMS).items():
        assert name.startswith("keyfuse_")
        assert all(text.strip() for text in (d.unit, d.means, d.rise)), name


def test_names_follow_prometheus() -> None:
    """Counters end in _total; what is measured in seconds says so."""
    assert all(name.endswith("_total") for name in COUNTERS)
    assert not any(name.endswith("_total") for name in (*GAUGES, *HISTOGRAMS))
    assert all(name.endswith("_seconds") for name, d in HISTOGRAMS.items() if d.unit == "seconds")
    assert all(list(d.buckets) == sorted(d.buckets) and d.buckets for d in HISTOGRAMS.values())


def test_counting() -> None:
    metrics = Metrics()
    metrics.inc("keyfuse_events_ingested_total", 500)
    metrics.inc("keyfuse_events_ingested_total")
    metrics.inc("keyfuse_dead_letters_total", reason="not_json")
    metrics.inc("keyfuse_deliveries_total", channel="oncall", result="delivered")
    assert value(metrics, "keyfuse_events_ingested_total") == 501
    assert value(metrics, "keyfuse_dead_letters_total", reason="not_json") == 1
    assert value(metrics, "keyfuse_deliveries_total", channel="oncall", result="delivered") == 1


def test_gauges_and_histograms() -> None:
    metrics = Metrics()
    metrics.set("keyfuse_keys_known", 7)
    metrics.set("keyfuse_stage_lag_records", 3, stage="score")
    metrics.observe("keyfuse_command_seconds", 0.3)
    metrics.observe("keyfuse_command_seconds", 4)
    assert value(metrics, "keyfuse_keys_known") == 7
    assert value(metrics, "keyfuse_stage_lag_records", stage="score") == 3
    assert value(metrics, "keyfuse_command_seconds_bucket", le="0.5") == 1
    assert value(metrics, "keyfuse_command_seconds_sum") == pytest.approx(4.3)


def test_an_age_grows_by_itself() -> None:
    """A stage that is stuck cannot tell its age: the metric must do without it."""
    now_s = 100.0
    metrics = Metrics(now_s=lambda: now_s)
    metrics.set("keyfuse_stage_last_commit_age_seconds", 2, stage="score")
    now_s = 160.0
    assert value(metrics, "keyfuse_stage_last_commit_age_seconds", stage="score") == 62
    metrics.set("keyfuse_stage_last_commit_age_seconds", 0, stage="score")
    assert value(metrics, "keyfuse_stage_last_commit_age_seconds", stage="score") == 0


def test_closed_labels_start_at_zero() -> None:
    """The first dead letter must be a rise, not a new series."""
    metrics = Metrics()
    for reason in DeadReason:
        assert value(metrics, "keyfuse_dead_letters_total", reason=reason.value) == 0


def test_registries_are_apart() -> None:
    one, other = Metrics(), Metrics()
    one.inc("keyfuse_frames_total")
    assert (value(one, "keyfuse_frames_total"), value(other, "keyfuse_frames_total")) == (1, 0)


def test_no_created_series() -> None:
    assert b"_created" not in Metrics().render()


def test_misspelt_names_are_refused() -> None:
    """mypy refuses them first: it would report these ignores as unused if it did not."""
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.inc("keyfuse_event_ingested_total")  # type: ignore[arg-type]  # misspelt
    with pytest.raises(KeyError):
        metrics.inc("keyfuse_keys_known")  # type: ignore[arg-type]  # a gauge does not count
    with pytest.raises(KeyError):
        metrics.set("keyfuse_frames_total", 1)  # type: ignore[arg-type]  # a counter is not set
    with pytest.raises(KeyError):
        metrics.observe("keyfuse_frozen", 1)  # type: ignore[arg-type]  # a gauge has no buckets


def test_wrong_labels_are_refused() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="label"):
        metrics.inc("keyfuse_dead_letters_total", stage="ingest")
    with pytest.raises(ValueError, match="label"):
        metrics.inc("keyfuse_dead_letters_total")
