"""The figures of two states of the code by turns. No time is asserted here."""

from __future__ import annotations

import pytest

from benchmarks.scoring_beside import figures


def test_the_ratio_is_of_the_turns_and_not_of_the_sums() -> None:
    """A minute in which the machine was slow slows both of its turns."""
    turns = [(1.0, 1.1), (1.0, 1.1), (10.0, 11.0), (1.0, 1.1)]
    told = figures(turns, n_events=1000)
    assert told["ratio"] == pytest.approx(1.1)
    assert told["middle_half"] == pytest.approx([1.1, 1.1])
    assert told["here_per_cpu_s"] == 1000


def test_more_than_one_is_faster_than_there() -> None:
    assert figures([(2.0, 1.0), (2.0, 1.0)], n_events=10)["ratio"] == pytest.approx(0.5)
    assert figures([(1.0, 2.0), (1.0, 2.0)], n_events=10)["ratio_of_bests"] == pytest.approx(2.0)
