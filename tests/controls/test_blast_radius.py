"""The bound holds against every thief, and says which control ends it."""

from __future__ import annotations

import math
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.blast_radius import (
    DAY_S,
    FOUND_S,
    HOUR_S,
    MIN_S,
    Cap,
    Cut,
    Exposure,
    Limit,
    Proposal,
    missing,
    radius,
    together_usd,
    worst,
)

BARE = Exposure("k", "prod", 100, 30, "assumed")
LIMITS = (Limit("usd_per_min", 20, MIN_S), Limit("usd_per_hour", 200, HOUR_S))
CASES = {
    "nothing is in the way": (BARE, 43_200, ""),
    "limits without a cut find and stop nothing": (BARE._replace(limits=LIMITS), 43_200, ""),
    "a cut by itself leaves the thief the pace below the limits, and a dash": (
        BARE._replace(limits=LIMITS, cut=Cut(10, "by itself")), 4_806, "usd_per_hour",
    ),
    "a limit of a day ends that too": (
        BARE._replace(limits=(*LIMITS, Limit("usd_per_day", 300, DAY_S)), cut=Cut(10, "")), 306, "usd_per_day",
    ),
    "a person takes half an hour": (BARE._replace(limits=LIMITS[1:], cut=Cut(1800, "")), 5_701, "usd_per_hour"),
    "a budget stops whatever the pace": (BARE._replace(caps=(Cap("budget", 50, DAY_S),)), 50, "budget"),
    "a budget of an hour comes again each hour": (BARE._replace(caps=(Cap("budget", 50, HOUR_S),)), 1200, "budget"),
    "a key that ends in an hour": (BARE._replace(expires_s=HOUR_S), 1800, "expires"),
    "a key that has ended": (BARE._replace(expires_s=0), 0, "expires"),
}  # fmt: skip


@pytest.mark.parametrize(("exposure", "day_usd", "bound_by"), CASES.values(), ids=CASES)
def test_the_worst_day(exposure: Exposure, day_usd: float, bound_by: str) -> None:
    found = radius(exposure)
    assert found.day_usd == pytest.approx(day_usd, rel=0.01)
    assert found.bound_by == bound_by
    assert found.hour_usd <= found.day_usd
    assert found.within is (day_usd <= 100)


STEP_S = 5.0
USD = st.floats(0.5, 500)
WINDOWS = st.sampled_from([MIN_S, 600.0, HOUR_S])
EXPOSURES = st.builds(
    Exposure, key_id=st.just("k"), env=st.just("e"), acceptable_usd=st.just(1.0), most_usd_per_min=st.floats(1, 400),
    most_words=st.just(""), caps=st.lists(st.builds(Cap, st.just("cap"), USD, WINDOWS), max_size=2).map(tuple),
    limits=st.lists(st.builds(Limit, st.just("limit"), USD, WINDOWS), max_size=3).map(tuple),
    cut=st.none() | st.builds(Cut, st.floats(0, 900), st.just("")), expires_s=st.none() | st.floats(0, 7200),
)  # fmt: skip


def stolen(exposure: Exposure, paces: list[float]) -> float:
    """Played second by second: what a thief of these paces, each for a while, has after an hour."""
    spent, gone_s, calls = 0.0, math.inf, deque[tuple[float, float]]()
    ends_s = math.inf if exposure.expires_s is None else exposure.expires_s
    for number in range(int(HOUR_S / STEP_S)):
        now_s = number * STEP_S
        if now_s >= min(gone_s, ends_s):
            break
        call = paces[int(now_s / HOUR_S * len(paces))] * exposure.most_usd_per_min * STEP_S / MIN_S
        held = (sum(usd for at, usd in calls if at >= now_s // cap.window_s * cap.window_s) for cap in exposure.caps)
        call = max(0.0, min([call, *(cap.usd - used for cap, used in zip(exposure.caps, held, strict=True))]))
        calls.append((now_s, call))
        spent += call
        for limit in exposure.limits if exposure.cut else ():
            if exposure.cut and sum(usd for at, usd in calls if at > now_s - limit.window_s) > limit.usd:
                gone_s = min(gone_s, now_s + STEP_S + FOUND_S + exposure.cut.seconds)
    return spent


@settings(max_examples=40, deadline=None)
@given(exposure=EXPOSURES, paces=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_no_thief_gets_more_than_the_bound(exposure: Exposure, paces: list[float]) -> None:
    grain_usd = 3 * exposure.most_usd_per_min * STEP_S / MIN_S  # calls are played in lumps
    assert stolen(exposure, paces) <= worst(exposure, HOUR_S).usd * (1 + 1e-9) + grain_usd


@settings(max_examples=200, deadline=None)
@given(exposure=EXPOSURES, usd=USD, window_s=WINDOWS)
def test_a_further_control_never_makes_it_worse(exposure: Exposure, usd: float, window_s: float) -> None:
    before = worst(exposure, DAY_S).usd
    assert worst(exposure._replace(caps=(*exposure.caps, Cap("new", usd, window_s))), DAY_S).usd <= before
    assert worst(exposure._replace(limits=(*exposure.limits, Limit("new", usd, window_s))), DAY_S).usd <= before
    assert worst(exposure._replace(cut=exposure.cut or Cut(60, "")), DAY_S).usd <= before


def test_what_is_missing_is_ranked_by_what_it_takes_off() -> None:
    found = missing(BARE, [
        Proposal("small", "s", BARE._replace(caps=(Cap("c", 9_000, DAY_S),))),
        Proposal("useless", "s", BARE), Proposal("large", "s", BARE._replace(caps=(Cap("c", 90, DAY_S),))),
    ])  # fmt: skip
    assert [(each.name, each.removes_usd) for each in found] == [("large", 43_110), ("small", 34_200)]


def test_all_keys_at_once_are_their_sum() -> None:
    assert together_usd([radius(BARE), radius(BARE)]) == (3_600, 86_400)
