"""Marks as labels: what people said an alarm was, in a form that a backtest must keep right. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from schemas.lines import read_records
from schemas.records import EXPECTED_FAMILIES, Family, Mark, Verdict

SLACK_MS: Final = 3_600_000
"""Under other settings the same theft is found earlier or later: so far a mark reaches to both sides."""


class Alarm(NamedTuple):
    """As much of an incident as a label goes by. Its id is left out: under other settings it is another one."""

    key_id: str
    opened_at_ms: int
    families: tuple[Family, ...]


def read_labels(lines: Iterable[bytes]) -> list[Mark]:
    """The newest version of each mark, from one JSON object a line.

    Raises:
        ValueError: a line is no mark; the message has its number.
    """
    return Mark.newest(read_records(lines, Mark, "mark"))


def speaks_of(mark: Mark, alarm: Alarm) -> bool:
    """Whether the mark is a label of this alarm: same key, same time, and for all but thefts one family in common.

    A theft is a theft whichever family finds it. A mark of a cohort labels nothing.
    """
    if mark.withdrawn or mark.scope != "key" or mark.key_id != alarm.key_id:
        return False
    if mark.verdict == "expected":
        families = mark.families or EXPECTED_FAMILIES
        return mark.from_ms <= alarm.opened_at_ms < mark.until_ms and not set(families).isdisjoint(alarm.families)
    if not mark.from_ms - SLACK_MS <= alarm.opened_at_ms <= mark.until_ms + SLACK_MS:
        return False
    return mark.verdict == "true" or not mark.families or not set(mark.families).isdisjoint(alarm.families)


def label_of(alarm: Alarm, marks: Sequence[Mark]) -> Verdict | None:
    """What people said of this alarm; None when nobody did.

    What was said of an alarm itself is stronger than what was expected of its time; of two the newer counts.
    """
    found = [mark for mark in marks if speaks_of(mark, alarm)]
    if not found:
        return None
    return max(found, key=lambda mark: (mark.verdict != "expected", mark.at_ms, mark.mark_id)).verdict
