from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controls.hours import is_open
from schemas.config.policies import HoursConfig
from tests.controls import policy_reference
from tests.controls.policy_worlds import BEGIN_MS, hours


@settings(max_examples=100, deadline=None)
@given(hours, st.integers(0, 14 * 24 * 60))
def test_hours_are_those_of_a_walk_back_minute_by_minute(config: HoursConfig, minutes: int) -> None:
    at_ms = BEGIN_MS + minutes * 60_000
    assert is_open(config, at_ms) == policy_reference.is_open(config, at_ms)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"from": "08:00", "until": "08:00"}, "hours that end when they begin"),
        ({"timezone": "Mars/Base"}, "no timezone of that name: 'Mars/Base'"),
        ({"from": "24:00"}, "String should match pattern"),
        ({"days": ["someday"]}, "Input should be 'mon'"),
    ],
)
def test_hours_that_are_none_are_refused(written: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HoursConfig.model_validate(written)
