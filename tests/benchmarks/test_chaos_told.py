"""The chaos run: copies of what people were told need a reason each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.chaos.announced import announced
from benchmarks.chaos.invariants import verdicts
from benchmarks.chaos.schedule import CHANNELS, QUICK
from benchmarks.chaos.told import Reasons
from benchmarks.chaos.traffic import Traffic, made_up
from tests.benchmarks.chaos_left import board, perfect
from tests.containment.build import incident


@pytest.fixture(scope="module")
def sent() -> Traffic:
    return made_up(7, seconds=40, thefts=1, partitions=4)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_copy_is_explained_by_an_answer_that_was_lost_there_or_by_a_worker_that_ended(
    sent: Traffic, channel: str
) -> None:
    twice = replace(perfect(sent), board=board(channel, copies=1, every_s=5))
    [other, *_] = {*CHANNELS} - {channel}
    for reasons in (Reasons({channel: [100]}, []), Reasons({}, [103.0])):
        assert not any(verdict.wrong for verdict in verdicts(sent, replace(twice, reasons=reasons), QUICK))
    for reasons in (Reasons({other: [100]}, []), Reasons({}, [106.0]), Reasons({}, [60.0])):
        assert announced(sent, replace(twice, reasons=reasons)).wrong


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_run_explains_a_hundred_copies_of_one_incident(sent: Traffic, channel: str) -> None:
    """Not even where a worker ended every four seconds, and each eighth answer was lost."""
    reasons = Reasons({channel: [100 + number for number in range(0, 100, 8)]}, [4.0 * n for n in range(165)])
    [words] = announced(
        sent, replace(perfect(sent), board=board(channel, copies=100, every_s=1), reasons=reasons)
    ).wrong
    assert words.startswith(f"{channel} was told ")
    assert "of inc_1" in words


def test_pagerduty_has_one_key_for_each_incident(sent: Traffic) -> None:
    mixed_up = replace(
        perfect(sent), board=board(pagerduty_key="inc_2"),
        incidents={"inc_1": incident(key_id=sent.stolen[0]), "inc_2": incident(incident_id="inc_2", key_id="key_of_2")},
    )  # fmt: skip
    assert "PagerDuty was told of inc_1 under the key inc_2" in announced(sent, mixed_up).wrong
