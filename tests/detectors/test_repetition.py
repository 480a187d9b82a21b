"""A loop is found by requests that are all alike; a key whose requests always are, and much more use, are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import repetition
from detectors import rows as r
from detectors.close import Close
from detectors.examples import NOW_S, blank, closing
from detectors.state import State
from schemas.config.detectors import DetectorSettings
from tests.detectors.shared import shared

SETTINGS = DetectorSettings()
LOUD = 2.5
"""-log10: one in three hundred, beyond the key's own usual peak."""
BLOCKS = 150


def second(block: int, lengths: Sequence[int], at_s: int = 0, *, failed: int = 0) -> Close:
    """One second of a key in which it sends requests of these lengths; the first `failed` of them fail."""
    close = closing(
        block=NOW_S // 600 + block, second=NOW_S + 600 * block + at_s, windows=block, elapsed=int(at_s == 0)
    )
    rows = np.repeat(close.rows, len(lengths), axis=1)
    rows[r.TS] += np.arange(len(lengths))
    rows[r.INPUT], rows[r.FAILED, :failed] = lengths, 1
    return replace(close, rows=rows)


def lived(alike: int = 1) -> State:
    """State after many active blocks of 20 requests, in each so many of one length."""
    rng, state = np.random.default_rng(5), blank(repetition.FIELDS)
    for block in range(BLOCKS):
        lengths = [800] * alike + rng.integers(200, 4000, 20 - alike).tolist()
        state, _ = repetition.step(state, second(block, rng.permutation(lengths).tolist()), SETTINGS)
    return state


def scored(state: State, *closes: Close) -> float:
    raw = 0.0
    for close in closes:
        state, each = repetition.step(state, close, SETTINGS)
        raw = float(each[0])
    return raw


def various(count: int) -> list[int]:
    lengths: list[int] = np.random.default_rng(1).integers(200, 4000, count).tolist()
    return lengths


@pytest.mark.parametrize(
    ("what", "alike", "now"),
    [
        ("twelve requests of one length", 1, [700] * 12),
        ("a loop within the owner's own use", 1, [700] * 60 + various(20)),
        ("a loop of a key that sends a few like requests", 6, [700] * 60),
    ],
)
def test_a_loop_is_loud(what: str, alike: int, now: list[int]) -> None:
    assert scored(lived(alike), second(BLOCKS, now)) > LOUD, what


@pytest.mark.parametrize(
    ("what", "alike", "now"),
    [
        ("its own use", 1, various(20)),
        ("a hundred times its own use", 1, various(2000)),
        ("a few like requests", 1, [700] * 4 + various(16)),
        ("a key that always asks the same asks it twice as often", 20, [800] * 40),
        ("a key that mostly asks the same asks another thing", 18, [900] * 18 + various(2)),
        ("lengths that are not known", 1, [0] * 60),
    ],
)
def test_what_is_no_loop_is_quiet(what: str, alike: int, now: list[int]) -> None:
    assert scored(lived(alike), second(BLOCKS, now)) < 1.0, what


def test_what_a_client_sends_again_because_it_failed_is_no_loop() -> None:
    assert scored(lived(), second(BLOCKS, [700] * 60, failed=58)) < 0.5


def test_a_loop_adds_up_over_minutes_and_passes() -> None:
    beats = [second(BLOCKS, [700], at_s) for at_s in range(0, 400, 20)]
    after = [second(BLOCKS + 6 + n, various(20)) for n in range(4)]
    assert scored(lived(), *beats[:3]) < 1.0
    assert scored(lived(), *beats) > LOUD
    assert scored(lived(), *beats, *after) == 0.0


def test_a_new_key_is_given_time() -> None:
    assert scored(blank(repetition.FIELDS), second(0, [700] * 12)) == 0.0


def test_the_finding_says_how_many_were_alike() -> None:
    close = second(BLOCKS, [700] * 60 + various(20))
    state, raw = repetition.step(lived(), close, SETTINGS)
    told = repetition.explain(state, close, shared(), SETTINGS, at=0, raw=float(raw[0]))
    assert "requests have exactly 700 input tokens, usually they differ" in told.what
    assert told.evidence["input_tokens"] == 700
    assert 60 <= float(told.evidence["equal_requests"]) <= 75


@given(st.permutations([700] * 7 + [800] * 5 + [900] * 5))
def test_the_order_within_a_second_says_nothing(lengths: list[int]) -> None:
    usual, mixed = second(BLOCKS, sorted(lengths)), second(BLOCKS, lengths)
    for close in (usual, mixed):
        close.rows[r.SLOT] = 0
    first, _ = repetition.step(blank(repetition.FIELDS), usual, SETTINGS)
    other, _ = repetition.step(blank(repetition.FIELDS), mixed, SETTINGS)
    assert all((first[name] == other[name]).all() for name in repetition.FIELDS)
