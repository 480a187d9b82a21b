"""What comes back from the archive is what the stages were given."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.frame import FRAME_SCHEMA
from schemas.partition import partition_of
from schemas.records import Command, Finding, KeyFacts, Outcome, StepState
from storage.history import Span, cut_seconds, findings, span, usage
from storage.rows import record_row
from storage.store import Store
from tests.storage.frames import HOUR_MS, T0, Use, archive_uses, frame

_OF_THE_LOG = {"raw_partition", "raw_offset", "raw_index"}


def events(batches: list[pa.RecordBatch]) -> list[str]:
    return [event for batch in batches for event in batch.column("event_id").to_pylist()]


def test_an_empty_store_has_no_span(store: Store) -> None:
    assert span(store) is None
    assert list(usage(store, 0, T0)) == []


def test_frames_come_back_as_they_went_in(store: Store) -> None:
    uses = [Use("a", 0, network=None), Use("b", 1, T0 + 1, status=429, team=None), Use("c", 2, T0 + 2, "fp1:b")]
    archive_uses(store, uses)

    [back] = usage(store, T0, T0 + 3)

    assert back.schema.equals(FRAME_SCHEMA)
    sent = frame(uses)
    for name in set(FRAME_SCHEMA.names) - _OF_THE_LOG:
        assert back.column(name).to_pylist() == sent.column(name).to_pylist(), name
    assert span(store) == Span(T0, T0 + 2, 3)


def test_the_order_is_that_of_event_time_and_coordinates_grow_over_all_frames(store: Store) -> None:
    uses = [
        Use("late", 0, T0 + 3 * HOUR_MS),
        Use("first", 1, T0),
        Use("second", 2, T0 + 1),
        Use("last", 3, T0 + 4 * HOUR_MS),
    ]
    archive_uses(store, uses)

    back = list(usage(store, T0, T0 + 5 * HOUR_MS))

    assert events(back) == ["first", "second", "late", "last"]
    assert [offset for batch in back for offset in batch.column("raw_offset").to_pylist()] == [0, 1, 2, 3]


@pytest.mark.parametrize(("low", "high", "found"), [(0, 2, ["a", "b"]), (1, 2, ["b"]), (1, 3, ["b", "c"]), (3, 9, [])])
def test_from_is_taken_and_until_is_not(store: Store, low: int, high: int, found: list[str]) -> None:
    archive_uses(store, [Use(name, at, T0 + at) for at, name in enumerate("abc")])

    assert events(list(usage(store, T0 + low, T0 + high))) == found


def test_an_event_that_was_sent_again_comes_once_and_its_last_word_counts(store: Store) -> None:
    archive_uses(store, [Use("a", 0, cost_nano_usd=1), Use("a", 1, cost_nano_usd=2)])

    [back] = usage(store, T0, T0 + 1)

    assert back.column("cost_nano_usd").to_pylist() == [2]


def test_one_partition_holds_the_keys_that_the_stream_puts_there(store: Store) -> None:
    keys = [f"fp1:{number:032x}" for number in range(20)] + ["schlüssel-1"]
    archive_uses(store, [Use(key, at, key_id=key) for at, key in enumerate(keys)])

    parts = [events(list(usage(store, T0, T0 + 1, partition=p, partitions=3))) for p in range(3)]

    assert parts == [sorted((k for k in keys if partition_of(k, 3) == p), key=keys.index) for p in range(3)]


def test_findings_come_back_in_the_order_of_time(store: Store) -> None:
    facts = KeyFacts(provider="openai")
    told = [
        Finding(
            finding_id=f"f{at}", at_ms=T0 + at, key_id="k", family="velocity", detector="d", severity="warning",
            score=5.0, certain=False, reason="r", evidence={}, usd_per_min=1.0, expected_usd_per_min=0.0, facts=facts,
        )
        for at in (2, 0, 1)
    ]  # fmt: skip
    store.insert_records("findings", [record_row(finding)[1] for finding in told])

    assert [f.at_ms - T0 for f in findings(store, "findings", T0, T0 + 2)] == [0, 1]
    with pytest.raises(ValueError, match="holds no findings"):
        findings(store, "usage_events", 0, 1)


def test_how_long_cuts_took_is_known_by_provider_from_five_of_them_on(store: Store) -> None:
    took_s = {"openai": [1.0, 2.0, 3.0, 4.0, 50.0], "anthropic": [9.0]}
    records: list[Command | Outcome] = []
    for provider, seconds in took_s.items():
        for number, each in enumerate(seconds):
            named = {"command_id": f"{provider}-{number}", "incident_id": "i", "key_id": "k", "at_ms": T0}
            facts = KeyFacts(provider=provider)
            records.append(Command(
                **named, step="disable", automatic=True, reversible=True, mode="auto", by="keyfuse", reason="r",
                facts=facts,
            ))  # fmt: skip
            for state, effective in ((StepState.IN_FLIGHT, None), (StepState.CONFIRMED, each)):
                records.append(Outcome(**named, step="disable", state=state, seconds_to_effective=effective))
    assert cut_seconds(store) == {}
    for table in ("commands", "outcomes"):
        rows = [row for name, row in map(record_row, records) if name == table]
        store.insert_records(table, rows)

    assert cut_seconds(store) == {"openai": 50.0}
