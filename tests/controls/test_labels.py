"""What people said of alarms, found again under other settings."""

from __future__ import annotations

import pytest

from controls.labels import SLACK_MS, Alarm, label_of, read_labels, speaks_of
from schemas.records import Family, Mark, Verdict
from tests.marks import HOUR_MS, NOW_MS, expected, false_positive, true_alarm, withdrawn


def alarm(at_ms: int = NOW_MS, *families: Family, key_id: str = "k") -> Alarm:
    return Alarm(key_id, at_ms, families or ("velocity",))


BEGAN_MS = NOW_MS - HOUR_MS  # of what the marks of these tests speak of
NARROW = false_positive(families=("velocity", "mix"))


@pytest.mark.parametrize(
    ("mark", "one", "speaks"),
    [
        (false_positive(), alarm(), True),
        (false_positive(), alarm(BEGAN_MS - SLACK_MS), True),
        (false_positive(), alarm(BEGAN_MS - SLACK_MS - 1), False),
        (false_positive(), alarm(NOW_MS + SLACK_MS), True),
        (false_positive(), alarm(NOW_MS + SLACK_MS + 1), False),
        (false_positive(), alarm(key_id="another"), False),
        (NARROW, alarm(NOW_MS, "mix", "origin"), True),
        (NARROW, alarm(NOW_MS, "origin"), False),
        (true_alarm(families=("velocity",)), alarm(NOW_MS, "origin"), True),
        (expected(), alarm(NOW_MS), True),
        (expected(), alarm(NOW_MS - 1), False),
        (expected(), alarm(NOW_MS + 4 * HOUR_MS - 1), True),
        (expected(), alarm(NOW_MS + 4 * HOUR_MS), False),
        (expected(), alarm(NOW_MS, "origin"), False),
        (expected(), alarm(NOW_MS, "origin", "velocity"), True),
        (expected(families=("origin",)), alarm(NOW_MS, "origin"), True),
        (expected(), alarm(NOW_MS, "policy"), False),
        (false_positive("prod/openai", scope="cohort"), alarm(key_id="prod/openai"), False),
        (withdrawn(false_positive()), alarm(), False),
    ],
)
def test_a_mark_speaks_of_alarms_of_its_key_and_time(mark: Mark, one: Alarm, speaks: bool) -> None:
    assert speaks_of(mark, one) is speaks


@pytest.mark.parametrize(
    ("marks", "label"),
    [
        ([], None),
        ([true_alarm()], "true"),
        ([false_positive(), true_alarm(at_ms=NOW_MS + 1)], "true"),
        ([true_alarm(), false_positive(at_ms=NOW_MS + 1)], "false_positive"),
        ([true_alarm(at_ms=NOW_MS - 1), expected()], "true"),
        ([expected()], "expected"),
        ([withdrawn(true_alarm()), expected()], "expected"),
    ],
)
def test_what_was_said_of_the_alarm_itself_counts_and_of_that_the_newest(
    marks: list[Mark], label: Verdict | None
) -> None:
    assert label_of(alarm(), marks) == label
    assert label_of(alarm(), marks[::-1]) == label


def test_labels_are_read_as_they_are_written_newest_versions_only() -> None:
    marks = [false_positive(), true_alarm("other")]
    lines = [mark.to_bytes() + b"\n" for mark in (withdrawn(marks[0]), *marks)]
    assert read_labels([*lines, b"\n"]) == Mark.newest([withdrawn(marks[0]), marks[1]])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "line 2 is no mark: Invalid JSON"),
        (b"{}", "line 2 is no mark: mark_id: Field required"),
        (true_alarm().to_bytes().replace(b'"true"', b'"maybe"'), "line 2 is no mark: verdict: Input should be 'true'"),
    ],
)
def test_a_line_that_is_no_mark_is_named(line: bytes, words: str) -> None:
    with pytest.raises(ValueError, match="line 2") as caught:
        read_labels([false_positive().to_bytes(), line])
    assert str(caught.value).startswith(words)
