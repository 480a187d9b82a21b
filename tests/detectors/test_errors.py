"""Probing is found by what is refused and by endpoints never used before; a provider's failures are not probing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import errors
from detectors.close import Close
from detectors.examples import NOW_S, blank, closing
from detectors.state import State
from schemas.config.detectors import DetectorSettings
from tests.detectors.shared import shared

SETTINGS = DetectorSettings()
CHAT, MODELS, FILES, EMBEDDINGS = 11, 12, 13, 14
LOUD = 2.5
"""-log10: one in three hundred, beyond the key's own usual peak."""


def asks(block: int, requests: int = 20, **given: Any) -> Close:
    plain: dict[str, Any] = {
        "row_requests": requests, "endpoint": CHAT, "block": NOW_S // 600 + block, "second": NOW_S + 600 * block,
        "windows": block, "elapsed": min(block, 1),
    }  # fmt: skip
    return closing(**{**plain, **given})


def lived(blocks: int = 150, refused_every: int = 10, refused: int = 2) -> State:
    """State after many active blocks of 20 requests, a few of them refused now and then: one in a hundred of all."""
    state = blank(errors.FIELDS)
    for block in range(blocks):
        hit = refused if block % refused_every == 3 else 0
        state, _ = errors.step(state, asks(block, refused=hit), SETTINGS)
    return state


def scored(state: State, *closes: Close) -> float:
    """Raw score after these seconds."""
    raw = 0.0
    for close in closes:
        state, each = errors.step(state, close, SETTINGS)
        raw = float(each[0])
    return raw


@pytest.mark.parametrize(
    ("what", "now"),
    [
        ("eight refused calls", {"requests": 8, "refused": 8}),
        ("twelve refused among the owner's own", {"requests": 40, "refused": 12}),
        ("some refused and the models listed", {"requests": 6, "refused": 5, "endpoint": MODELS}),
    ],
)
def test_probing_is_loud(what: str, now: dict[str, Any]) -> None:
    assert scored(lived(), asks(150, **now)) > LOUD, what


@pytest.mark.parametrize(
    ("what", "now"),
    [
        ("nothing refused", {}),
        ("as many refused as ever", {"refused": 2}),
        ("much more use, as many refused of a hundred", {"requests": 4000, "refused": 40}),
        ("a storm of failures at the provider", {"requests": 400, "failed": 390}),
        ("some refused within a storm of failures", {"requests": 400, "failed": 340, "refused": 60}),
        ("a new endpoint, nothing refused", {"endpoint": MODELS}),
        ("no endpoint given", {"endpoint": 0}),
    ],
)
def test_what_is_no_probing_is_quiet(what: str, now: dict[str, Any]) -> None:
    assert scored(lived(), asks(150, **now)) < 1.0, what


def test_refused_calls_add_up_over_minutes() -> None:
    probes = [asks(150, 1, refused=1, second=NOW_S + 600 * 150 + 20 * n, elapsed=int(n == 0)) for n in range(8)]

    scores = [scored(lived(), *probes[: n + 1]) for n in range(8)]

    assert scores == sorted(scores)
    assert scores[0] < 1.0 < LOUD < scores[-1]


def test_a_key_that_is_often_refused_needs_more() -> None:
    knocking = lived(refused_every=4, refused=15)

    assert scored(knocking, asks(150, 8, refused=8)) < 0.5
    assert scored(lived(), asks(150, 8, refused=8)) > LOUD


def test_a_new_key_being_set_up_is_quiet() -> None:
    assert scored(blank(errors.FIELDS), asks(0, 8, refused=8)) == 0
    assert scored(lived(2), asks(2, 8, refused=8)) < scored(lived(), asks(150, 8, refused=8)) / 2


def test_judging_begins_at_the_number_of_requests_that_is_set() -> None:
    strict = DetectorSettings.model_validate({"errors": {"min_requests": 5000}})

    assert errors.step(lived(), asks(150, 8, refused=8), strict)[1][0] == 0


def test_an_endpoint_is_new_for_six_hours() -> None:
    def after(blocks: int) -> float:
        state, _ = errors.step(lived(), asks(150, endpoint=MODELS), SETTINGS)
        return float(errors.step(state, asks(150 + blocks, endpoint=MODELS), SETTINGS)[0]["err_fast"][0, 1])

    assert after(35) >= 20 > 1 > after(36)


def test_what_a_key_uses_in_its_first_hour_is_not_new_to_it() -> None:
    state = blank(errors.FIELDS)
    for block in range(6):
        state, _ = errors.step(state, asks(block, endpoint=(CHAT, EMBEDDINGS)[block % 2]), SETTINGS)

    for endpoint in (CHAT, EMBEDDINGS):
        assert errors.step(state, asks(6, endpoint=endpoint), SETTINGS)[0]["err_fast"][0, 1] == 0
    assert errors.step(state, asks(6, endpoint=FILES), SETTINGS)[0]["err_fast"][0, 1] == 20


def test_a_tour_of_endpoints_does_not_push_out_those_it_lives_with() -> None:
    state = lived()
    for n in range(50):
        state, _ = errors.step(state, asks(150, endpoint=100 + n, elapsed=int(n == 0)), SETTINGS)

    fresh = state["err_fast"][0, 1]
    state, _ = errors.step(state, asks(150, endpoint=CHAT, elapsed=0), SETTINGS)

    assert state["err_fast"][0, 1] == fresh


def test_probing_teaches_little_while_it_is_alarmed() -> None:
    """An hour of it is still loud, and so is the next one."""
    state = lived()
    for block in range(150, 156):
        state, raw = errors.step(state, asks(block, 8, refused=8, peak=9.0), SETTINGS)
        assert raw[0] > LOUD


@given(refused=st.integers(0, 200), more=st.integers(0, 200))
def test_more_refused_is_never_less_odd(refused: int, more: int) -> None:
    few, many = (scored(STEADY, asks(150, 400, refused=n)) for n in (refused, refused + more))

    assert few <= many


STEADY = lived()


def test_a_finding_counts_what_was_refused_and_names_the_new_endpoint_of_the_second() -> None:
    state, _ = errors.step(lived(), asks(150, 8, refused=8), SETTINGS)
    for endpoint, words in ((MODELS, " (/v1/models)"), (CHAT, "")):
        close = asks(150, 3, endpoint=endpoint, elapsed=0)
        state, raw = errors.step(state, close, SETTINGS)

        told = errors.explain(state, close, shared({MODELS: "/v1/models"}), SETTINGS, at=0, raw=float(raw[0]))

        assert told.detector == "refused"
        assert told.what.startswith("had 8 of its last ")
        assert told.what.endswith(
            f" requests refused (4xx), its usual is 1 % and tries endpoints it never used before{words}"
        )
        assert told.evidence["refused"] == pytest.approx(8, abs=0.01)
        assert {"observed", "expected", "window_s", "ratio"} <= told.evidence.keys()


def test_a_finding_of_new_endpoints_alone_says_so() -> None:
    close = asks(150, 6, refused=1, endpoint=MODELS)
    state, raw = errors.step(lived(), close, SETTINGS)

    told = errors.explain(state, close, shared(), SETTINGS, at=0, raw=float(raw[0]))

    assert told.detector == "new_endpoints"
    assert "tries endpoints it never used before" in told.what
