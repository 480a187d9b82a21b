"""Marks and announced times: bounded, visible, reversible, and blind to nothing but what was said."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detectors import drift
from detectors.core import ScoreCore
from detectors.examples import NOW_S, blank, closing
from detectors.grants import FADE_MS, FAMILIES, MOST, MOST_OF_COHORT, RAISED, announced, covers, effect, granted
from schemas.config.detectors import DetectorsConfig
from schemas.records import EXPECTED_FAMILIES, Finding, KeyFacts, Mark
from tests.detectors.history import cut, history, new_core, run
from tests.detectors.traffic import Event, play
from tests.marks import DAY_MS, HOUR_MS, NOW_MS, expected, false_positive, true_alarm, window, withdrawn

VELOCITY, MIX, RHYTHM, COHORT = (FAMILIES.index(each) for each in ("velocity", "mix", "rhythm", "cohort"))


def effects(*marks: Mark, at_ms: int = NOW_MS) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    grants = [grant for mark in marks if (grant := granted(mark))]
    raised, widened = effect(grants, np.array([at_ms]))
    return raised[0], widened[0]


@pytest.mark.parametrize(
    ("marks", "raised"),
    [
        ([false_positive()], 0.5),
        ([false_positive(families=("velocity", "mix"))], 0.5),
        ([false_positive(families=("mix",))], 0.0),
        ([false_positive(families=("policy",))], 0.0),
        ([false_positive(), false_positive(reason="again")], 1.0),
        ([false_positive(reason=str(n)) for n in range(9)], 2.0),
        ([false_positive("prod/openai", scope="cohort")], 0.5),
        ([false_positive("prod/openai", scope="cohort", reason=str(n)) for n in range(9)], 1.0),
        ([false_positive(at_ms=NOW_MS - FADE_MS // 2)], 0.25),
        ([false_positive(at_ms=NOW_MS - FADE_MS)], 0.0),
        ([false_positive(at_ms=NOW_MS + 1000)], 0.0),
        ([true_alarm()], 0.0),
        ([withdrawn(false_positive())], 0.0),
        ([expected()], 0.0),
    ],
)
def test_how_much_higher_the_threshold_of_velocity_stands(marks: list[Mark], raised: float) -> None:
    assert effects(*marks)[0][VELOCITY] == pytest.approx(raised)


@pytest.mark.parametrize(
    ("mark", "widened", "raised"),
    [
        (expected(), {"velocity": 10, "drift": 10, "economics": 10}, {"rhythm": 2, "repetition": 2, "cohort": 2}),
        (
            expected(times=450),
            {"velocity": 450, "drift": 450, "economics": 450},
            {"rhythm": 2, "repetition": 2, "cohort": 2},
        ),
        (expected(families=("velocity",), times=2), {"velocity": 2}, {}),
        (expected(families=("mix", "origin", "errors")), {}, {"mix": 2, "origin": 2, "errors": 2}),
        (expected(at_ms=NOW_MS - 5 * HOUR_MS), {}, {}),
        (withdrawn(expected()), {}, {}),
    ],
)
def test_what_is_expected_is_taken_off_what_measures_it_and_the_rest_must_be_surer(
    mark: Mark, widened: dict[str, float], raised: dict[str, float]
) -> None:
    up, off = effects(mark)
    assert {family: pytest.approx(np.exp(x)) for family, x in zip(FAMILIES, off, strict=True) if x} == widened
    assert {family: x for family, x in zip(FAMILIES, up, strict=True) if x} == raised


def test_of_overlapping_times_the_greater_counts() -> None:
    both = [announced(window(times=5)), announced(window(times=20, families=["velocity"]))]
    raised, widened = effect(both, np.array([NOW_MS]))
    assert np.exp(widened[0, [VELOCITY, FAMILIES.index("drift")]]).tolist() == pytest.approx([20, 5])
    assert raised[0, RHYTHM] == MOST


def test_an_announced_time_ends_after_31_days_whatever_it_says() -> None:
    grant = announced(window(until="2030-01-01"))
    assert effect([grant], np.array([NOW_MS + 30 * DAY_MS]))[1][0, VELOCITY] > 0
    assert not effect([grant], np.array([NOW_MS + 31 * DAY_MS]))[1].any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"verdict": "expected", "until_ms": NOW_MS + 32 * DAY_MS}, "31 days"),
        ({"until_ms": NOW_MS - 9 * DAY_MS}, "ends before it begins"),
        ({"verdict": "true", "scope": "cohort"}, "false alarms"),
        ({"verdict": "expected", "scope": "cohort"}, "announce"),
        ({"times": 1.0}, "1.1"),
        ({"times": 1001.0}, "1000"),
        ({"reason": ""}, "at least 1"),
        ({"by": ""}, "at least 1"),
        ({"key_id": ""}, "at least 1"),
    ],
)
def test_a_mark_out_of_bounds_is_no_mark(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Mark.model_validate(false_positive().model_dump() | given)


marks_of_history = st.lists(
    st.builds(
        lambda kind, key, at_s, families, times, cohort: (
            expected(key, at_ms=(NOW_S + at_s) * 1000, times=times, families=families)
            if kind == "expected"
            else false_positive("prod/openai", at_ms=(NOW_S + at_s) * 1000, scope="cohort", families=families)
            if cohort
            else false_positive(key, at_ms=(NOW_S + at_s) * 1000, families=families)
        ),
        st.sampled_from(["expected", "false_positive"]),
        st.sampled_from([f"k{n}" for n in range(4)]),
        st.integers(-50_000, 20_000),
        st.lists(st.sampled_from(FAMILIES), unique=True, max_size=3).map(tuple),
        st.floats(1.1, 1000),
        st.booleans(),
    ),
    max_size=6,
)


@given(marks=marks_of_history, at_s=st.lists(st.integers(-100_000, 3_000_000), min_size=1), lot=st.randoms())
def test_whatever_is_marked_the_effect_is_bounded_and_its_order_does_not_matter(
    marks: list[Mark], at_s: list[int], lot: Any
) -> None:
    grants = [grant for mark in marks if (grant := granted(mark))]
    at_ms = (NOW_S + np.array(at_s)) * 1000
    raised, widened = effect(grants, at_ms)
    lot.shuffle(grants)
    again = effect(grants, at_ms)
    assert np.array_equal(raised, again[0])
    assert np.array_equal(widened, again[1])
    assert (raised >= 0).all()
    assert (raised <= MOST).all()
    most = max((mark.times for mark in marks if mark.verdict == "expected"), default=1.0)
    assert (widened >= 0).all()
    assert (widened <= np.log(most) + 1e-12).all()
    of_cohort = [grant for grant in grants if grant.of_cohort]
    assert (effect(of_cohort, at_ms)[0] <= MOST_OF_COHORT).all()
    assert not widened[:, [FAMILIES.index(family) for family in RAISED]].any()


ROWS = 150


def told(marks: list[Mark], seed: int = 3) -> list[Finding]:
    core = new_core()
    core.allow(marks)
    return run(core, [history(seed, ROWS)])


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), marks=marks_of_history)
def test_withdrawn_marks_leave_no_trace(seed: int, marks: list[Mark]) -> None:
    assert told([*marks, *map(withdrawn, marks)], seed) == told([], seed)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), marks=marks_of_history)
def test_marks_never_reach_certain_limits_nor_what_is_learned(seed: int, marks: list[Mark]) -> None:
    marked, plain = new_core(), new_core()
    marked.allow(marks)
    with_marks, without = run(marked, [history(seed, ROWS)]), run(plain, [history(seed, ROWS)])
    assert [f for f in with_marks if f.certain] == [f for f in without if f.certain]
    assert {name: column.tobytes() for name, column in marked.table.columns.items()} == {
        name: column.tobytes() for name, column in plain.table.columns.items()
    }
    assert np.array_equal(marked.population.tables, plain.population.tables)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), marks=marks_of_history, places=st.lists(st.integers(1, ROWS - 1), max_size=9))
def test_marks_do_not_show_how_rows_were_cut_into_frames(seed: int, marks: list[Mark], places: list[int]) -> None:
    core = new_core()
    core.allow(marks)
    assert run(core, cut(history(seed, ROWS), places)) == told(marks, seed)


def test_a_mark_makes_the_same_history_quieter_and_says_so() -> None:
    """One of the marked families still speaks, surer than before, and names the mark."""
    marks = [false_positive("k0", at_ms=NOW_MS - HOUR_MS, reason=str(n)) for n in range(4)]
    before, after = told([]), told(marks)
    learned = [f for f in before if f.key_id == "k0" and not f.certain]
    louder = [f for f in after if f.key_id == "k0" and not f.certain]
    assert 0 < len(louder) < len(learned)
    assert [f for f in after if f.key_id != "k0"] == [f for f in before if f.key_id != "k0"]
    for finding in louder:
        assert "; its threshold stands 2 higher (mrk_" in finding.reason or "threshold stands 1.9" in finding.reason
        assert 1.9 < float(finding.evidence["threshold_raised"]) <= 2
        assert str(finding.evidence["allowed_by"]).count("mrk_") == 3


BLOCKS = 60
LATER_S = NOW_S + BLOCKS * 600.0 + 3600.0


@cache
def ten_hours() -> tuple[bytes, list[bytes]]:
    """What a core learns from three requests in each ten minutes at a dollar each: cohorts and shards."""
    usual = [
        {"ts_s": NOW_S + block * 600.0 + n * 180, "key_id": "k", "cost_usd": 1.0}
        for block in range(BLOCKS)
        for n in range(3)
    ]
    core = ScoreCore(DetectorsConfig(), partition=0)
    play(core, usual)
    return core.export_cohorts(), [core.export_shard(shard) for shard in range(core.shards)]


def after_ten_hours(settings: dict[str, Any]) -> ScoreCore:
    core = ScoreCore(DetectorsConfig.model_validate({"limits": {"enabled": False}} | settings), partition=0)
    cohorts, shards = ten_hours()
    core.import_cohorts(cohorts)
    for shard, data in enumerate(shards):
        core.import_shard(shard, data)
    return core


def half_a_minute(cost_usd: float) -> list[Event]:
    return [{"ts_s": LATER_S + n, "key_id": "k", "cost_usd": cost_usd} for n in range(30)]


def families_of(cost_usd: float, settings: dict[str, Any], marks: list[Mark]) -> dict[str, Finding]:
    """The loudest finding of each family when the key spends so much with each second's request."""
    core = after_ten_hours(settings)
    core.allow(marks)
    found = play(core, half_a_minute(cost_usd), first_offset=1000)
    return {finding.family: finding for finding in sorted(found, key=lambda finding: finding.score)}


LOAD_TEST = [expected("k", at_ms=int(LATER_S) * 1000 - HOUR_MS, times=10)]
WINDOW = {"announced": [window(until="2026-11-25").model_dump(by_alias=True)]}
each_way = pytest.mark.parametrize(("settings", "marks"), [({}, LOAD_TEST), (WINDOW, [])], ids=["mark", "window"])


@each_way
def test_a_load_test_of_ten_times_the_usual_is_quiet_when_it_was_announced(
    settings: dict[str, Any], marks: list[Mark]
) -> None:
    unannounced = families_of(1.0, {}, [])
    assert "velocity" in unannounced
    assert families_of(1.0, settings, marks) == {}


@each_way
def test_a_theft_of_450_times_the_usual_is_found_in_the_middle_of_the_load_test(
    settings: dict[str, Any], marks: list[Mark]
) -> None:
    finding = families_of(45.0, settings, marks)["velocity"]
    assert finding.severity == "critical"
    assert "; 10 times its usual was expected (" in finding.reason
    assert finding.evidence["expected_times"] == 10
    assert finding.score < families_of(45.0, {}, [])["velocity"].score


@each_way
def test_a_certain_limit_holds_in_the_middle_of_the_load_test(settings: dict[str, Any], marks: list[Mark]) -> None:
    finding = families_of(1.0, settings | {"limits": {"usd_per_min": 20.0}}, marks)["policy"]
    assert finding.certain
    assert finding.reason.endswith("this limit is certain")


def test_a_certain_limit_moves_only_as_far_as_the_announcement_says() -> None:
    raised = {"announced": [window(until="2026-11-25", limits_times=4).model_dump(by_alias=True)]}
    limits = {"limits": {"usd_per_min": 20.0}}
    assert "policy" not in families_of(1.0, raised | limits, [])
    finding = families_of(4.0, raised | limits, [])["policy"]
    assert finding.reason.endswith("this limit is certain; even 4 times its limit was announced (load test by ann)")
    assert finding.evidence["limits_times"] == 4


def test_what_was_announced_may_be_taken_back_while_running() -> None:
    core = after_ten_hours(WINDOW)
    core.reconfigure(DetectorsConfig())
    assert "velocity" in {finding.family for finding in play(core, half_a_minute(1.0), first_offset=1000)}


def test_a_key_that_comes_later_and_one_whose_owner_changes_find_their_window() -> None:
    owner = {"team": "search"}
    config = DetectorsConfig.model_validate({"announced": [window(keys=[], teams=["batch"])]})
    core = ScoreCore(config, partition=0, facts_of=lambda key_id: KeyFacts(provider="openai", **owner))
    core.book.add(["k1"], [KeyFacts(provider="openai")])
    slots, seconds = np.array([0, 1]), np.full(2, NOW_S)
    assert core.judge.allowances.at(slots[:1], seconds[:1]) is None
    owner["team"] = "batch"
    core.book.add(["k2"], [KeyFacts(provider="openai")])
    allowed = core.judge.allowances.at(slots, seconds)
    assert allowed is not None
    assert (allowed.widened("velocity") > 0).tolist() == [False, True]
    core.reconfigure(config)
    allowed = core.judge.allowances.at(slots, seconds)
    assert allowed is not None
    assert (allowed.widened("velocity") > 0).tolist() == [True, True]


@pytest.mark.parametrize(
    ("expected_times", "times", "speaks"), [(1.0, 2.0, True), (10.0, 9.0, False), (10.0, 11.0, True)]
)
def test_drift_speaks_beyond_what_was_expected_by_its_own_measure(
    expected_times: float, times: float, speaks: bool
) -> None:
    state = blank(drift.FIELDS)
    state["drift_base"][:] = 100.0
    close = closing(usd_1h=100.0 * times)
    assert (drift.beyond(state, close, np.array([1.5]), np.log([expected_times])) > 0).tolist() == [speaks]


def blocks(cost_usd: float, start: int, count: int) -> list[Event]:
    """Three requests in each ten minutes."""
    return [
        {"ts_s": LATER_S + (start + block) * 600.0 + n * 180, "key_id": "k", "cost_usd": cost_usd}
        for block in range(count) for n in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "learned"),
    [
        ([], False),
        ([false_positive("k", at_ms=int(LATER_S) * 1000)], False),
        ([false_positive("k", at_ms=int(LATER_S) * 1000, for_good=True)], True),
        ([false_positive("k", at_ms=int(LATER_S) * 1000, for_good=True, families=("economics",))], True),
        ([false_positive("k", at_ms=int(LATER_S) * 1000, for_good=True, families=("mix",))], False),
        ([false_positive("other", at_ms=int(LATER_S) * 1000, for_good=True)], False),
        ([false_positive("k", at_ms=int(LATER_S) * 1000 - DAY_MS, for_good=True)], False),
        ([withdrawn(false_positive("k", at_ms=int(LATER_S) * 1000, for_good=True))], False),
    ],
)
def test_a_change_that_is_for_good_is_learned_at_once(given: list[Mark], learned: bool) -> None:
    """Each request costs twenty times as much from now on: after an hour its usual peak is another or not yet."""
    core = after_ten_hours({})
    core.allow(given)
    play(core, blocks(20.0, 0, 5), first_offset=1000)
    risen = float(core.table.columns["eco_top"][0, 0])
    assert (risen > 1.5) is learned


@pytest.mark.parametrize("given", [{"verdict": "true"}, {"verdict": "expected"}, {"scope": "cohort"}])
def test_only_a_false_alarm_of_one_key_can_be_for_good(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="only a false alarm of one key can be a change for good"):
        Mark.model_validate(false_positive("a/b").model_dump() | {"for_good": True} | given)


def test_nothing_is_looked_up_outside_of_the_time() -> None:
    core = ScoreCore(DetectorsConfig.model_validate({"announced": [window()]}), partition=0)
    core.book.add(["k"], [KeyFacts(provider="openai")])
    at = core.judge.allowances.at
    midnight = NOW_S - 10 * 3600
    times = [midnight - 1, midnight, midnight + 86_399, midnight + 86_400]
    assert [at(np.array([0]), np.array([second])) is not None for second in times] == [False, True, True, False]


def test_an_announcement_covers_keys_that_match_every_scope() -> None:
    facts = KeyFacts(provider="openai", team="search", app="ranker", env="prod")
    assert covers(window(), "k", facts)
    assert covers(window(keys=["fp1:*"], teams=["se*"], apps=["ranker"], envs=["prod", "dev"]), "fp1:0", facts)
    assert not covers(window(keys=["fp1:*"], teams=["ads"]), "fp1:0", facts)
    assert not covers(window(envs=["Prod"]), "k", facts)
    heir = facts.model_copy(update={"formerly": ("fp1:0", "fp1:1")})
    assert covers(window(keys=["fp1:0"]), "fp2:2", heir)
    assert not covers(window(keys=["fp1:0"], teams=["ads"]), "fp2:2", heir)


def test_expected_families_are_those_that_more_use_sets_off() -> None:
    assert window().families == EXPECTED_FAMILIES
    assert set(EXPECTED_FAMILIES) < set(FAMILIES)
