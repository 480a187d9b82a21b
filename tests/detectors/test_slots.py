"""Hashed values in the places of their keys."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import slots


@settings(max_examples=100, deadline=None)
@given(data=st.data(), places=st.sampled_from([1, 4, 8, 16]))
def test_a_value_is_found_in_the_first_place_that_holds_it(data: st.DataObject, places: int) -> None:
    keys = data.draw(st.integers(1, 5))
    some = st.integers(0, 5)
    table = np.array(data.draw(st.lists(some, min_size=keys * places, max_size=keys * places)), "u4")
    table = table.reshape(keys, places)
    asked = data.draw(st.lists(st.tuples(st.integers(0, keys - 1), some), max_size=20))
    key, value = np.array(asked, np.int64).reshape(-1, 2).T
    plainly = [row.index(v) if v in (row := table[k].tolist()) else -1 for k, v in asked]
    assert slots.find(table, key, value.astype("u4")).tolist() == plainly
    part = np.concatenate([table, table], axis=1)[:, :places]  # as families keep several kinds beside each other
    assert slots.find(part, key, value.astype("u4")).tolist() == plainly
