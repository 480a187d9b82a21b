"""River behind one typed door: Page-Hinkley stepped for many keys at once, and a forest of Half-Space Trees.

Page-Hinkley's five numbers per key live in arrays and are stepped by the arithmetic of `river.drift.PageHinkley`.
Half-Space Trees are River's own objects: they build the trees and learn; only scoring many keys at once reads their
masses from arrays. Tests hold both equal to River. State leaves as numbers, never as pickles.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors.state import Array

MIN_INSTANCES: Final = 30
_ALPHA: Final = 1 - 0.0001


def load_river() -> Any:  # noqa: ANN401 - River ships no types
    """River's Half-Space Trees. With them come scipy.stats and pandas, which takes seconds: so not when this file is
    imported, but when the first core is made, or beside other work before.
    """
    from river.anomaly import HalfSpaceTrees  # noqa: PLC0415 - see above

    return HalfSpaceTrees


def page_hinkley(state: Array, values: Array, *, delta: float, threshold: float) -> tuple[Array, Array]:
    """One update of each key's upward Page-Hinkley test: the new state, and statistic / threshold.

    State columns: n, mean, sum, smallest sum. A ratio above 1 is a detected drift; the test then starts afresh.

    >>> state, ratios = np.zeros((1, 4)), []
    >>> for value in [0.0] * 40 + [2.0] * 5:
    ...     state, ratio = page_hinkley(state, np.array([value]), delta=0.05, threshold=8.0)
    ...     ratios.append(round(float(ratio[0]), 2))
    >>> ratios[-3:], state[0].tolist()
    ([0.7, 0.92, 1.13], [0.0, 0.0, 0.0, 0.0])
    """
    n = state[:, 0] + 1
    mean = state[:, 1] + (values - state[:, 1]) / n
    total = _ALPHA * state[:, 2] + (values - mean) - delta
    lowest = np.where(n == 1, total, np.minimum(state[:, 3], total))
    ratio = np.where(n >= MIN_INSTANCES, (total - lowest) / threshold, 0.0)
    stepped = np.stack((n, mean, total, lowest), axis=1)
    stepped[ratio > 1] = 0.0
    return stepped, ratio


class Forest:
    """One Half-Space-Trees model per cohort, all with the same trees: only their masses differ."""

    def __init__(self, *, features: int, n_trees: int, height: int, window: int) -> None:
        self.shape: Final = (n_trees, 2 ** (height + 1) - 1)
        self._names = [f"f{number:02d}" for number in range(features)]
        self._n_trees, self._height, self._window = n_trees, height, window
        self._models: list[Any] = []
        self._nodes: list[list[list[Any]]] = []
        self._masses = np.zeros((0, *self.shape))
        self._ready = np.zeros(0, bool)
        self._exported: dict[int, Array] = {}
        self._feature, self._threshold = self._structure()

    def grow_to(self, cohorts: int) -> None:
        while len(self._models) < cohorts:
            model = self._blank()
            self._models.append(model)
            self._nodes.append([_heap_order(tree, self._height) for tree in model.trees])
            self._masses = np.concatenate((self._masses, np.zeros((1, *self.shape))))
            self._ready = np.append(self._ready, False)

    def learn(self, cohort: int, samples: Array) -> None:
        """Learn samples one by one, each a row of features between 0 and 1."""
        model = self._models[cohort]
        self._exported.pop(cohort, None)
        for sample in samples.tolist():
            model.learn_one(dict(zip(self._names, sample, strict=True)))
            if model.counter == 0:
                self._publish(cohort)

    def ready(self, cohort: Array) -> Array:
        """Where the first window is full; before that every score is 0."""
        return self._ready[cohort]

    def score(self, cohort: Array, samples: Array) -> Array:
        """River's score of each row of features under its cohort's model: near 1 is rare."""
        trees = np.arange(self.shape[0])[:, None]
        node = np.zeros((self.shape[0], len(samples)), np.int64)
        alive, total = np.ones(node.shape, bool), np.zeros(node.shape)
        row = np.arange(len(samples))
        for depth in range(self._height + 1):
            mass = self._masses[cohort, trees, node]
            total += np.where(alive, mass * 2**depth, 0.0)
            if depth == self._height:
                break
            alive &= mass >= 0.1 * self._window
            right = samples[row, self._feature[trees, node]] >= self._threshold[trees, node]
            node = 2 * node + 1 + right
        most = self.shape[0] * self._window * self.shape[1]
        return np.where(self._ready[cohort], 1 - total.sum(axis=0) / most, 0.0)

    def export(self, cohort: int) -> tuple[int, Array]:
        """Samples learned in the open window, and [2, trees, nodes] masses: learning, published."""
        if cohort not in self._exported:  # asked for far more often than learned
            masses = [[(node.l_mass, node.r_mass) for node in nodes] for nodes in self._nodes[cohort]]
            self._exported[cohort] = np.array(masses, np.int32).transpose(2, 0, 1)
        return self._models[cohort].counter, self._exported[cohort]

    def restore(self, cohort: int, counter: int, masses: Array) -> None:
        """The model of `export`; masses of another shape are left aside and the model starts afresh."""
        if masses.shape != (2, *self.shape):
            return
        self._exported.pop(cohort, None)
        self._models[cohort].counter = counter
        for nodes, learning, published in zip(self._nodes[cohort], *masses.tolist(), strict=True):
            for node, l_mass, r_mass in zip(nodes, learning, published, strict=True):
                node.l_mass, node.r_mass = l_mass, r_mass
        if masses[1].any():
            self._models[cohort]._first_window = False  # River keeps no public door to it
            self._publish(cohort)

    def _publish(self, cohort: int) -> None:
        self._masses[cohort] = [[node.r_mass for node in nodes] for nodes in self._nodes[cohort]]
        self._ready[cohort] = True

    def _blank(self) -> Any:  # noqa: ANN401 - River ships no types
        model = load_river()(n_trees=self._n_trees, height=self._height, window_size=self._window, seed=1)
        model.learn_one(dict.fromkeys(self._names, 0.0))  # River builds its trees with the first sample
        for tree in model.trees:
            for node in _heap_order(tree, self._height):
                node.l_mass = 0
        model.counter = 0
        return model

    def _structure(self) -> tuple[Array, Array]:
        inner = 2**self._height - 1
        trees = [_heap_order(tree, self._height)[:inner] for tree in self._blank().trees]
        number = {name: at for at, name in enumerate(self._names)}
        feature = np.array([[number[node.feature] for node in nodes] for nodes in trees])
        return feature, np.array([[node.threshold for node in nodes] for nodes in trees])


def _heap_order(root: Any, height: int) -> list[Any]:  # noqa: ANN401 - River ships no types
    """Nodes of a perfect tree so that the children of node i are 2i + 1 and 2i + 2."""
    nodes = [root]
    for at in range(2**height - 1):
        nodes.extend(nodes[at].children)
    return nodes
