"""Our arrays and River's objects say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.anomaly import HalfSpaceTrees
from river.drift import PageHinkley

from detectors.river_models import MIN_INSTANCES, Forest, page_hinkley
from detectors.state import Array


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(0, 3), min_size=1, max_size=120),
    shift=st.floats(0, 3),
    delta=st.floats(0, 0.5),
    threshold=st.floats(0.5, 15),
)
def test_page_hinkley_steps_as_river_does(values: list[float], shift: float, delta: float, threshold: float) -> None:
    stream = [*values, *(value + shift for value in values)]
    river: Any = PageHinkley(min_instances=MIN_INSTANCES, delta=delta, threshold=threshold, alpha=1 - 0.0001, mode="up")
    state = np.zeros((1, 4))

    for value in stream:
        river.update(value)
        total_before_reset = river._sum_increase
        state, ratio = page_hinkley(state, np.array([value]), delta=delta, threshold=threshold)
        if abs(ratio[0] - 1) > 1e-9:
            assert bool(ratio[0] > 1) == river.drift_detected
        if ratio[0] <= 1:
            assert state[0, 2] == pytest.approx(total_before_reset, abs=1e-9)


def river_forest(samples: Array) -> Any:
    model: Any = HalfSpaceTrees(n_trees=4, height=5, window_size=20, seed=1)
    model.learn_one(dict.fromkeys(names(samples), 0.0))
    for tree in model.trees:
        for node in tree.iter_dfs():
            node.l_mass = 0
    model.counter = 0
    for sample in samples.tolist():
        model.learn_one(dict(zip(names(samples), sample, strict=True)))
    return model


def names(samples: Array) -> list[str]:
    return [f"f{number:02d}" for number in range(samples.shape[1])]


@pytest.mark.parametrize("learned", [5, 20, 47, 90])
def test_a_forest_scores_as_river_does(learned: int) -> None:
    rng = np.random.default_rng(learned)
    samples, asked = rng.beta(2, 5, (learned, 3)), rng.random((200, 3))
    forest = Forest(features=3, n_trees=4, height=5, window=20)
    forest.grow_to(2)
    forest.learn(1, samples)
    river = river_forest(samples)

    scores = forest.score(np.ones(200, np.int64), asked)

    expected = [river.score_one(dict(zip(names(asked), sample, strict=True))) for sample in asked.tolist()]
    assert scores.tolist() == expected
    assert forest.ready(np.array([0, 1])).tolist() == [False, learned >= 20]


def test_a_restored_forest_scores_and_learns_identically() -> None:
    rng = np.random.default_rng(4)
    samples, more, asked = rng.random((33, 3)), rng.random((30, 3)), rng.random((50, 3))
    forest, restored = (Forest(features=3, n_trees=4, height=5, window=20) for _ in range(2))
    forest.grow_to(1)
    restored.grow_to(1)
    forest.learn(0, samples)
    member = np.zeros(50, np.int64)

    restored.restore(0, *forest.export(0))

    assert restored.score(member, asked).tolist() == forest.score(member, asked).tolist()
    forest.learn(0, more)
    restored.learn(0, more)
    assert restored.score(member, asked).tolist() == forest.score(member, asked).tolist()


def test_masses_of_another_shape_are_left_aside() -> None:
    small, large = (
        Forest(features=2, n_trees=2, height=3, window=10),
        Forest(features=2, n_trees=3, height=3, window=10),
    )
    small.grow_to(1)
    large.grow_to(1)
    small.learn(0, np.full((10, 2), 0.5))

    large.restore(0, *small.export(0))

    assert not large.ready(np.array([0]))[0]
