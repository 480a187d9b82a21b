"""The table of keys: what is written into a row is what is read from it, whatever room there was."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.state import KeyTable

FIELDS = {"alone": ("i4", ()), "few": ("f2", (3,)), "kinds": ("f4", (2, 3)), "ring": ("i8", (64,))}


@pytest.mark.parametrize("reserved", [0, 3, 5000])
def test_rows_hold_what_was_written_and_others_what_they_held(reserved: int) -> None:
    table, rng = KeyTable(FIELDS), np.random.default_rng(7)
    table.reserve(reserved)
    plainly = {name: np.zeros((2000, *shape), dtype) for name, (dtype, shape) in FIELDS.items()}
    for size in (0, 3, 70, 300, 2000):
        table.grow_to(size)
        slots = np.flatnonzero(rng.random(size) < 0.5)
        given = {name: rng.integers(0, 100, (len(slots), *shape)) for name, (_, shape) in FIELDS.items()}
        table.put(slots, given)
        for name, values in given.items():
            plainly[name][slots] = values
    for name, values in table.take(FIELDS, np.arange(2000)).items():
        np.testing.assert_array_equal(values, plainly[name])
