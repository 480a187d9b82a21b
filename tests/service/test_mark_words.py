"""What a mark changes, in words for the person who looks at the list."""

from __future__ import annotations

import pytest

from schemas.records import Mark
from service.mark_words import announced_block, effect_words, mark_block, moment_ms
from tests.marks import DAY_MS, HOUR_MS, NOW_MS, expected, false_positive, true_alarm, window, withdrawn

UNSOFTENED = "none: a certain limit or a leak report spoke, and no mark softens one"


@pytest.mark.parametrize(
    ("mark", "later_ms", "words"),
    [
        (
            false_positive(families=("velocity", "mix")), 0,
            "velocity, mix: threshold 0.5 higher (3.16 times as sure), of 0.5 at first; gone by 2026-12-21 10:00 UTC. "
            "All marks together: at most 2",
        ),
        (
            false_positive("prod/openai", scope="cohort", families=("mix",)), 21 * DAY_MS,
            "mix: threshold 0.125 higher (1.33 times as sure), of 0.5 at first; gone by 2026-12-21 10:00 UTC. "
            "All marks together: at most 1",
        ),
        (
            false_positive(families=("mix",), for_good=True), 0,
            "mix: threshold 0.5 higher (3.16 times as sure), of 0.5 at first; gone by 2026-12-21 10:00 UTC. All marks "
            "together: at most 2. The change is for good: it is learned at once until 2026-11-24 10:00 UTC",
        ),
        (false_positive(), 28 * DAY_MS, "none any more: faded since 2026-12-21 10:00 UTC"),
        (false_positive(families=("policy",)), 0, UNSOFTENED),
        (false_positive(families=("leak",)), 0, UNSOFTENED),
        (withdrawn(false_positive()), 0, "none: withdrawn by bo: a slip"),
        (true_alarm(), 0, "none: a label, for backtests"),
        (
            expected(times=20), 0,
            "velocity, drift, economics: 20 times the usual is expected; rhythm, repetition, cohort: "
            "threshold 2 higher; "
            "until 2026-11-23 14:00 UTC",
        ),
        (expected(families=("mix",)), 0, "mix: threshold 2 higher; until 2026-11-23 14:00 UTC"),
        (expected(), 4 * HOUR_MS, "none any more: over since 2026-11-23 14:00 UTC"),
    ],
)  # fmt: skip
def test_the_effect_and_what_is_left_of_it(mark: Mark, later_ms: int, words: str) -> None:
    assert effect_words(mark, NOW_MS + later_ms) == words


def test_a_mark_says_who_why_and_of_what() -> None:
    mark = false_positive("fp1:0", mark_id="mrk_1", incident_id="inc_1", reason="our\nbatch", families=("mix",))
    first, *rest = mark_block(mark, NOW_MS).splitlines()
    assert first == "false positive, said by ann on 2026-11-23 10:00 UTC: our batch"
    assert rest[:3] == [
        "  mark    mrk_1", "  key     fp1:0, incident inc_1", "  time    2026-11-23 09:00 UTC to 2026-11-23 10:00 UTC",
    ]  # fmt: skip
    assert rest[3].startswith("  effect  mix: threshold 0.5 higher")


def test_a_mark_of_a_cohort_speaks_of_no_time() -> None:
    said = mark_block(false_positive("prod/openai", scope="cohort"), NOW_MS).splitlines()
    assert [line.split()[0] for line in said] == ["false", "mark", "cohort", "effect"]


def test_an_announced_time_says_whose_and_for_whom() -> None:
    said = announced_block(window(envs=["dev"]), NOW_MS - 2 * DAY_MS)
    assert said.splitlines() == [
        "announced by ann in detectors.yaml: load test, release",
        "  of      keys *; envs dev",
        "  effect  velocity, drift, economics: 10 times the usual is expected; rhythm, repetition, cohort: "
        "threshold 2 higher; "
        "from 2026-11-23 00:00 UTC until 2026-11-24 00:00 UTC",
    ]
    assert "; over since 2026-11-24 00:00 UTC" in announced_block(window(), NOW_MS + DAY_MS)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("4h", NOW_MS + 4 * HOUR_MS),
        ("2 d", NOW_MS + 2 * DAY_MS),
        ("30min", NOW_MS + HOUR_MS // 2),
        ("2026-11-24", NOW_MS + 14 * HOUR_MS),
        ("2026-11-23 11:00", NOW_MS + HOUR_MS),
        ("2026-11-23T12:00:00+01:00", NOW_MS + HOUR_MS),
    ],
)
def test_a_moment_is_a_time_a_date_or_a_span(text: str, at_ms: int) -> None:
    assert moment_ms(text, NOW_MS) == at_ms


@pytest.mark.parametrize("text", ["", "soon", "4", "4y", "-4h", "25:00", "2026-13-01"])
def test_other_texts_are_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        moment_ms(text, NOW_MS)
