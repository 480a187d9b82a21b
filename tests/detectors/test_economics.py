"""What a request costs: swaps of models and stuffed prompts are found, a key's own variety is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import economics
from detectors.close import Close, Told
from detectors.examples import NOW_S, blank, closing
from detectors.state import State
from schemas.config.detectors import DetectorSettings
from tests.detectors.shared import shared

SETTINGS = DetectorSettings()
USD, INPUT = 0.002, 800
LOUD = 1.0
"""Natural logs beyond the usual peak: nearly three times."""


def asks(block: int, *, requests: int = 20, usd: float = 1.0, tokens: float = 1.0, **given: Any) -> Close:
    """A second of many requests, `usd` and `tokens` times as dear and long as usual, half of the input cached."""
    asked = round(requests * INPUT * tokens)
    plain: dict[str, Any] = {
        "row_requests": requests, "row_input": asked, "row_tokens": asked * 5 // 4, "row_cached": asked // 2,
        "cost_usd": requests * USD * usd, "block": NOW_S // 600 + block, "second": NOW_S + 600 * block,
        "windows": block, "elapsed": min(block, 1),
    }  # fmt: skip
    return closing(**{**plain, **given})


def lived(blocks: int = 150, wild: float = 0.0, **given: Any) -> State:
    """State after this many active blocks; `wild` is the spread of the logarithm of what their requests cost."""
    rng, state = np.random.default_rng(3), blank(economics.FIELDS)
    for block in range(blocks):
        usd = float(np.exp(wild * rng.standard_normal()))
        state, _ = economics.step(state, asks(block, usd=usd, tokens=usd, **given), SETTINGS)
    return state


def scored(state: State, close: Close) -> float:
    return float(economics.step(state, close, SETTINGS)[1][0])


def told(state: State, close: Close) -> Told:
    new, raw = economics.step(state, close, SETTINGS)
    return economics.explain(new, close, shared(), SETTINGS, at=0, raw=float(raw[0]))


@pytest.mark.parametrize(
    ("what", "now"),
    [
        ("a dearer model, as many tokens", {"usd": 30.0}),
        ("stuffed prompts", {"usd": 8.0, "tokens": 10.0}),
        ("stuffed prompts of a free model", {"tokens": 50.0}),
        ("a dearer model and nothing cached", {"usd": 30.0, "row_cached": 0}),
        ("a dearer model in few requests", {"usd": 30.0, "requests": 4}),
    ],
)
def test_more_for_a_request_is_loud(what: str, now: dict[str, Any]) -> None:
    assert scored(lived(), asks(150, **now)) > LOUD, what


@pytest.mark.parametrize(
    ("what", "now"),
    [
        ("the usual", {}),
        ("cheaper requests", {"usd": 0.02, "tokens": 0.1}),
        ("more of the same requests", {"requests": 5000}),
        ("a flushed cache", {"usd": 1.8, "row_cached": 0}),
        ("refused requests that name a price", {"usd": 30.0, "refused": 20}),
        ("failed requests that name a price", {"usd": 30.0, "failed": 20}),
    ],
)
def test_what_is_no_theft_is_quiet(what: str, now: dict[str, Any]) -> None:
    assert scored(lived(), asks(150, **now)) < 0.35, what


def test_a_flushed_cache_excuses_only_what_it_can_cost() -> None:
    state = lived(row_cached=round(20 * INPUT * 0.95))

    kept, flushed = (scored(state, asks(150, usd=5.0, row_cached=n)) for n in (round(20 * INPUT * 0.95), 0))

    assert kept > LOUD > 0.3 > flushed
    assert scored(state, asks(150, usd=60.0, row_cached=0)) > LOUD


def test_a_key_whose_requests_always_vary_is_not_accused_of_it() -> None:
    calm, wild = lived(), lived(wild=1.2)
    now = asks(150, usd=6.0, tokens=6.0)

    assert scored(calm, now) > LOUD
    assert scored(wild, now) < 0.35


def test_one_long_request_of_a_busy_key_proves_little() -> None:
    one, many = (scored(lived(), asks(150, requests=n, usd=8.0, tokens=8.0)) for n in (1, 40))

    assert one < many / 2


def test_a_new_key_is_quiet_until_its_requests_are_known() -> None:
    assert scored(blank(economics.FIELDS), asks(0, usd=100.0)) == 0
    assert scored(lived(2), asks(2, usd=30.0)) < scored(lived(40), asks(40, usd=30.0))


def test_judging_begins_at_the_number_of_requests_that_is_set() -> None:
    young = DetectorSettings.model_validate({"economics": {"min_requests": 5000}})
    close = asks(150, usd=30.0)

    assert economics.step(lived(), close, young)[1][0] == 0


def test_a_new_price_is_learned_within_hours_and_later_when_it_is_alarmed() -> None:
    def blocks_until_quiet(peak: float) -> int:
        state = lived()
        for block in range(150, 400):
            state, raw = economics.step(state, asks(block, usd=6.0, peak=peak), SETTINGS)
            if raw[0] < 0.5:
                return block - 150
        return 250

    assert 0 < blocks_until_quiet(0.0) < blocks_until_quiet(9.0) < 36


@given(usd=st.floats(0.01, 1000), more=st.floats(1.0, 100))
def test_what_costs_more_is_never_less_odd(usd: float, more: float) -> None:
    state = STEADY

    assert scored(state, asks(150, usd=usd)) <= scored(state, asks(150, usd=usd * more)) + 1e-6


STEADY = lived()


def test_a_score_is_the_natural_log_of_how_many_times_the_usual() -> None:
    """What is announced as so many times the usual is taken off in this unit."""
    four, forty = (scored(STEADY, asks(150, requests=4000, usd=usd)) for usd in (4.0, 40.0))

    assert forty - four == pytest.approx(np.log(10), rel=0.08)


def test_a_finding_names_price_usual_and_peak() -> None:
    swapped = told(STEADY, asks(150, usd=30.0))

    assert swapped.detector == "usd_per_request"
    assert swapped.what.startswith("pays 0.0")
    assert " USD per request in the last minutes, its usual is 0.002 and its peak " in swapped.what
    assert float(swapped.evidence["ratio"]) == pytest.approx(
        float(swapped.evidence["observed"]) / float(swapped.evidence["expected"]), rel=1e-6
    )
    assert {"observed", "expected", "window_s", "ratio"} <= swapped.evidence.keys()


def test_a_finding_of_long_prompts_counts_tokens_and_says_when_the_cache_is_lost() -> None:
    stuffed = told(STEADY, asks(150, usd=2.0, tokens=50.0, row_cached=0))

    assert stuffed.detector == "input_per_request"
    assert "input tokens per request" in stuffed.what
    assert stuffed.what.endswith("of the input comes from a cache, usually 50 %")
