"""How unlikely a count is."""

from __future__ import annotations

import numpy as np

from detectors.state import Array


def poisson(count: Array, expected: Array, *, most: float) -> Array:
    """-log10 of about the chance of so many where so many are expected (Chernoff's bound); 0 below, `most` at most.

    >>> poisson(np.array([1.0, 8.0, 1e6]), np.array([2.0, 1.0, 1.0]), most=9.0).round(1).tolist()
    [0.0, 4.2, 9.0]
    """
    nats = count * np.log(np.maximum(count, 1e-9) / expected) - (count - expected)
    surprise: Array = np.where(count > expected, np.minimum(nats / np.log(10), most), 0.0)
    return surprise
