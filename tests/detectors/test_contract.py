"""What every detector promises, asked of every detector module that is found."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import detectors
from detectors import codec, ensemble
from detectors.close import Close
from detectors.core import ScoreCore
from detectors.examples import NOW_S, blank, closing
from detectors.population import Population
from detectors.rings import WINDOWS
from detectors.state import Array, State
from schemas.config.detectors import DetectorsConfig
from tests.detectors.shared import shared

MODULES = [importlib.import_module(f"detectors.{info.name}") for info in pkgutil.iter_modules(detectors.__path__)]
DETECTORS = [module for module in MODULES if hasattr(module, "FAMILY") and hasattr(module, "step")]
SETTINGS = DetectorsConfig()
SCORING = [module for module in DETECTORS if module.FAMILY != "cohort"]
"""The cohort detector's raw score only says that an evaluation is due; its forest gives the score."""
each = pytest.mark.parametrize("detector", DETECTORS, ids=lambda module: module.FAMILY)

each_scoring = pytest.mark.parametrize("detector", SCORING, ids=lambda module: module.FAMILY)


def use(level: float, keys: int = 3, **given: Any) -> Close:
    """A second of steady use, `level` times a modest one, from one place with one model."""
    scales = {"10s": 1, "1m": 6, "10m": 60, "1h": 360}
    amounts = {"requests": 2.0, "tokens": 1500.0, "usd": 0.001}
    sums = {name: level * amounts[name.split("_")[0]] * scales[name.split("_")[1]] for name in WINDOWS}
    plain = {
        "model": 5, "network": 6, "country": 7, "agent": 8, "endpoint": 9, "cost_usd": 0.001 * level, "cap": 20.0,
        "row_tokens": 1500, "row_input": 1200, "row_cached": 300,
    }  # fmt: skip
    return closing(keys=keys, **{**sums, **plain, **given})


def lived(detector: ModuleType, blocks: int = 400) -> tuple[State, dict[str, int]]:
    """State after days of steady use, and the block that follows."""
    state = blank(detector.FIELDS, 3)
    for block in range(blocks):
        wobble = 1 + 0.3 * np.sin(block)
        at = {"block": NOW_S // 600 + block, "second": NOW_S + 600 * block}
        state, _ = detector.step(state, use(wobble, elapsed=min(block, 1), windows=block, **at), SETTINGS)
    return state, {"block": NOW_S // 600 + blocks, "second": NOW_S + 600 * blocks, "windows": blocks}


def same(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def judged(detector: ModuleType, state: State, close: Close, raw: Array) -> Array:
    """The raw score that is calibrated: young keys are excused by their cohort, which here knows nothing yet."""
    if not hasattr(detector, "judged"):
        return raw
    keys = len(raw)
    cohort = replace(shared(keys=keys), prior_log=Population(SETTINGS).prior_log[np.zeros(keys, int)])
    told: Array = detector.judged(state, close, raw, cohort, SETTINGS)[0]
    return told


def test_all_families_of_this_package_are_found() -> None:
    assert {module.FAMILY for module in DETECTORS} == set(ensemble.detectors_in_force(SETTINGS)) == {
        "policy", "budget", "velocity", "mix", "origin", "economics", "rhythm", "errors", "drift", "repetition",
        "cohort",
    }  # fmt: skip


@each
def test_a_step_changes_nothing_it_was_given(detector: ModuleType) -> None:
    state, now = lived(detector, 5)
    before = {name: values.copy() for name, values in state.items()}
    close = use(50.0, elapsed=1, model=99, network=98, **now)
    rows = close.rows.copy()

    detector.step(state, close, SETTINGS)

    assert same(state, before)
    assert np.array_equal(close.rows, rows)


@each
def test_state_keeps_its_declared_types_and_shapes(detector: ModuleType) -> None:
    state, _ = lived(detector, 3)

    assert {name: (values.dtype.str[1:], values.shape[1:]) for name, values in state.items()} == dict(detector.FIELDS)


@each
def test_state_survives_the_codec(detector: ModuleType) -> None:
    state, now = lived(detector, 20)
    _, restored = codec.decode(codec.encode({}, state))
    close = use(9.0, elapsed=1, model=99, country=44, **now)

    live_state, live_raw = detector.step(state, close, SETTINGS)
    again_state, again_raw = detector.step(restored, close, SETTINGS)

    assert same(live_state, again_state)
    assert np.array_equal(live_raw, again_raw)


@each_scoring
def test_a_key_of_steady_use_is_quiet(detector: ModuleType) -> None:
    state, now = lived(detector)

    _, raw = detector.step(state, use(1.0, **now), SETTINGS)

    assert (raw < 0.35).all()


@each_scoring
def test_a_key_that_rested_a_week_is_quiet(detector: ModuleType) -> None:
    state, now = lived(detector)
    later = {"block": now["block"] + 1008, "second": now["second"] + 604_800, "windows": 401}

    _, raw = detector.step(state, use(1.0, elapsed=1008, **later), SETTINGS)

    assert (raw < 1.0).all()


@each_scoring
def test_a_key_that_never_changes_is_quiet(detector: ModuleType) -> None:
    """The same to the last token, second by second and block by block: no spread at all."""
    state = blank(detector.FIELDS, 3)
    for n in range(600):
        block = n // 3
        at = {"block": NOW_S // 600 + block, "second": NOW_S + 600 * block + n % 3, "windows": block}
        close = use(1.0, elapsed=int(n % 3 == 0 and n > 0), **at)
        state, raw = detector.step(state, close, SETTINGS)
        assert (judged(detector, state, close, raw) < 0.35).all(), n


@each_scoring
def test_state_of_an_older_version_is_taken_for_a_key_not_known_yet(detector: ModuleType) -> None:
    """A new field is all zeros, while the key itself has a history."""
    close = use(1.0, windows=500, requests=50_000, elapsed=7)
    state, raw = detector.step(blank(detector.FIELDS, 3), close, SETTINGS)

    known_since_the_first_version = detector.FAMILY == "velocity"
    assert (judged(detector, state, close, raw) < (1.5 if known_since_the_first_version else 0.35)).all()


@each
def test_state_is_bounded_however_many_values_a_key_shows(detector: ModuleType) -> None:
    """Two thousand models, networks, countries, programs and endpoints."""
    state, now = lived(detector, 20)
    size = {name: values.nbytes for name, values in state.items()}
    for n in range(2000):
        seen = dict.fromkeys(("model", "network", "country", "agent", "endpoint"), 1000 + n)
        state, raw = detector.step(state, use(1.0, **{**now, **seen}), SETTINGS)
        assert np.isfinite(raw).all()

    assert {name: values.nbytes for name, values in state.items()} == size


def test_all_state_of_a_key_leaves_room_for_its_name_within_four_kilobytes() -> None:
    core = ScoreCore(SETTINGS, partition=0)

    assert core.table.row_bytes + core.book.row_bytes <= 3700


EXTREMES: list[dict[str, Any]] = [
    {"row_requests": 10**9, "row_tokens": 2**62, "row_input": 2**62, "row_cached": 2**62, "cost_usd": 9e9},
    {"row_requests": 1, "row_tokens": 0, "row_input": 0, "row_cached": 0, "cost_usd": 0.0},
    {"row_requests": 10**9, "refused": 10**9},
    {"row_requests": 10**9, "failed": 10**9},
    {"model": 2**32 - 1, "network": 2**32 - 1, "country": 2**32 - 1, "agent": 2**32 - 1, "endpoint": 2**32 - 1},
    {"usd_10s": 1e12, "usd_1m": 1e12, "usd_10m": 1e12, "usd_1h": 1e12},
]


@each
@pytest.mark.parametrize("extreme", EXTREMES, ids=lambda extreme: next(iter(extreme.items())))
def test_extreme_rows_do_not_break_it(detector: ModuleType, extreme: dict[str, Any]) -> None:
    """And the key is judged again afterwards: nothing sticks at infinity."""
    state, now = lived(detector, 30)
    for block in range(2):
        at = {"block": now["block"] + block, "second": now["second"] + 600 * block, "windows": 30 + block}
        state, raw = detector.step(state, use(1.0, **{**at, "elapsed": 1, **extreme}), SETTINGS)
        assert np.isfinite(raw).all()
    later = {"block": now["block"] + 2, "second": now["second"] + 1200, "windows": 32}
    state, raw = detector.step(state, use(1.0, elapsed=1, **later), SETTINGS)

    assert np.isfinite(raw).all()
    assert all(np.isfinite(values).all() for values in state.values())


@each
def test_a_second_that_comes_late_does_not_break_it(detector: ModuleType) -> None:
    """Clocks are kept from going back, but a state may be restored beside a clock of its own."""
    state, now = lived(detector, 30)

    state, raw = detector.step(state, use(1.0, **{**now, "second": now["second"] - 5000}), SETTINGS)

    assert np.isfinite(raw).all()
    assert all(np.isfinite(values).all() for values in state.values())


@each
@pytest.mark.parametrize("level", [0.0, 1e-9, 1e9])
def test_extreme_use_does_not_break_it(detector: ModuleType, level: float) -> None:
    """1e9 times a modest use is 1.5e12 tokens in ten seconds."""
    state, now = lived(detector, 30)

    for block in range(3):
        at = {"block": now["block"] + block, "second": now["second"] + 600 * block, "windows": 30 + block}
        state, raw = detector.step(state, use(level, elapsed=1, row_requests=10**9, **at), SETTINGS)
        assert np.isfinite(raw).all()

    assert all(np.isfinite(values).all() for values in state.values())


@each
def test_the_same_history_gives_the_same_scores(detector: ModuleType) -> None:
    (first, now), (second, _) = lived(detector, 30), lived(detector, 30)
    close = use(7.0, model=99, **now)

    assert np.array_equal(detector.step(first, close, SETTINGS)[1], detector.step(second, close, SETTINGS)[1])


@each
def test_keys_do_not_see_each_other(detector: ModuleType) -> None:
    """A key's score is the same whoever else is closed in the same wave."""
    state, now = lived(detector, 30)
    crowd = use(7.0, keys=3, model=99, network=98, elapsed=1, **now)
    alone = use(7.0, keys=1, model=99, network=98, elapsed=1, **now)
    mine = {name: values[:1] for name, values in state.items()}

    assert detector.step(state, crowd, SETTINGS)[1][0] == detector.step(mine, alone, SETTINGS)[1][0]


AFTER_TWO_MONTHS: dict[str, Any] = {
    "block": NOW_S // 600 + 9000, "second": NOW_S + 600 * 9000, "elapsed": 8600, "usd_1h": 3.0,
}  # fmt: skip
LOUD = {
    "policy": 1.0, "velocity": 2.5, "mix": 2.0, "origin": 4.0, "economics": 1.5, "rhythm": 1.5, "errors": 4.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "attack"),
    [
        ("policy", {"usd_1m": 21.0}),
        ("velocity", {"usd_1m": 5.0}),
        ("mix", {"model": 99, "cost_usd": 3.0, "row_requests": 20, "usd_10m": 3.0}),
        ("origin", {"network": 98, "country": 97, "row_requests": 50}),
        ("economics", {"cost_usd": 3.0, "row_requests": 20}),
        ("rhythm", AFTER_TWO_MONTHS),
        ("errors", {"row_requests": 8, "refused": 8}),
    ],
)
def test_a_theft_is_loud(family: str, attack: dict[str, Any]) -> None:
    detector = next(module for module in DETECTORS if family == module.FAMILY)
    state, now = lived(detector)

    _, raw = detector.step(state, use(1.0, **{**now, **attack}), SETTINGS)

    assert (raw > LOUD[family]).all()
