"""A candidate against the configuration in force: what is gained, lost, caught and cut is what really came out."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.config import BudgetsConfig, DetectorsConfig, KeysConfig, ResponsesConfig, WiringConfig
from schemas.config.keys import KeyConfig
from schemas.records import Mark
from service.backtest import Backtest, backtest, unmatched
from service.backtest_report import as_json, lines, lost_labels
from service.backtest_side import Told
from service.config_tree import Folder
from tests.detectors.traffic import DAY_S
from tests.service.past import FIRST_MS, STOLEN, THEFT_LASTS_S, THEFT_S, as_frame, events, mark

NO_LIMITS = {"limits": {"enabled": False}}
SILENT: dict[str, Any] = {
    name: {"enabled": False} for name in DetectorsConfig.model_fields if name not in {"time", "environments", "keys"}
} | {"announced": []}  # fmt: skip
PAST = as_frame(events())
QUIET_THEFT = mark("true", key_id="k00", from_s=THEFT_S - DAY_S, lasts_s=DAY_S)  # nobody tells it


def folder(detectors: dict[str, Any] | None = None, **parts: Any) -> Folder:
    wiring = WiringConfig.model_validate({"kafka": {"partitions": 2}, "state": {"shards": 4}})
    return Folder(wiring=wiring, detectors=DetectorsConfig.model_validate(detectors or NO_LIMITS), **parts)


def compare(current: Folder, candidate: Folder, *, marks: tuple[Mark, ...] = (), from_ms: int = FIRST_MS) -> Backtest:
    frames = [PAST.slice(start, 500) for start in range(0, PAST.num_rows, 500)]
    last_ms = int(PAST["ts_ms"].to_numpy()[-1])
    return backtest(current, candidate, frames, offered={}, marks=marks, from_ms=from_ms, last_ms=last_ms)


def test_the_same_twice_gains_and_loses_nothing() -> None:
    result = compare(folder(), folder())

    assert result.current == result.candidate
    assert (result.gained, result.lost) == ((), ())
    assert [told.key_id for told in result.current] == [STOLEN]
    [told] = result.current
    assert THEFT_S * 1000 <= told.opened_ms < (THEFT_S + 10) * 1000
    assert (result.keys, result.events) == (4, PAST.num_rows)


@pytest.mark.parametrize(
    ("detectors", "one_core"),
    [
        (NO_LIMITS | {"velocity": {"alarm_per_key_week": 50.0}, "mix": {"alarm_per_key_week": 90.0}}, True),
        ({"limits": {"usd_per_min": 0.01}}, True),
        (NO_LIMITS | {"origin": {"enabled": False}}, True),
        (NO_LIMITS | {"velocity": {"decay_per_10min": 0.95}}, False),
    ],
)
def test_each_side_says_what_it_would_say_alone(detectors: dict[str, Any], one_core: bool) -> None:
    together = compare(folder(), folder(detectors))
    alone = compare(folder(detectors), folder(detectors))

    assert together.one_core is one_core
    assert together.candidate == alone.current
    assert together.current == compare(folder(), folder()).current


def test_what_is_touchier_gains_and_what_is_silent_loses() -> None:
    touchy = compare(folder(), folder({"limits": {"usd_per_min": 0.01}}))
    silent = compare(folder(), folder(SILENT))

    assert touchy.lost == ()
    assert {told.key_id for told in touchy.gained} >= {"k00", "k01", "k03"}
    assert all(told.families == ("policy",) for told in touchy.gained)
    assert (silent.gained, [told.key_id for told in silent.lost]) == ((), [STOLEN])
    assert silent.candidate == ()


def test_a_label_is_caught_by_one_and_missed_by_the_other_with_its_money() -> None:
    result = compare(folder(), folder(SILENT), marks=(mark("true"),))

    [label] = result.labels
    assert label.current.told is not None
    assert label.candidate.told is None
    assert label.spent_usd is not None
    assert label.current.lost_usd is not None
    assert label.candidate.lost_usd == label.spent_usd > 30
    assert 0 < label.current.lost_usd < label.spent_usd / 2
    [told] = result.current
    assert told.cut is not None
    assert (told.cut.step, told.cut.effective_ms < (THEFT_S + 30) * 1000) == ("disable", True)
    assert told.lost_with_cut_usd < told.lost_usd


@pytest.mark.parametrize(
    ("change", "cut"),
    [
        ({"responses": ResponsesConfig(protected_keys=(STOLEN,))}, False),
        ({"responses": ResponsesConfig(ladder={"families_for_cut": 9})}, False),
        ({"budgets": BudgetsConfig(default_acceptable_loss_usd=1.0)}, True),
    ],
)
def test_a_folder_brings_its_own_ladder_and_budgets(change: dict[str, Any], cut: bool) -> None:
    result = compare(folder(), folder(**change))

    assert result.one_core
    assert [told.cut is not None for told in result.candidate] == [cut]
    assert [told.cut is not None for told in result.current] == [True]


def test_a_folder_with_other_keys_is_learned_by_itself() -> None:
    keys = KeysConfig(keys=(KeyConfig(key_id=STOLEN, provider="openai", env="dev", protected=True),))
    result = compare(folder(), folder(keys=keys))

    assert not result.one_core
    assert [told.cut for told in result.candidate] == [None]


def test_what_was_said_to_be_a_false_alarm_is_counted_when_it_is_told_again() -> None:
    result = compare(folder(SILENT), folder(), marks=(mark("false_positive"), QUIET_THEFT))

    harmless, theft = result.labels
    assert harmless.current.told is None
    assert harmless.candidate.told is not None
    assert (theft.candidate.told, theft.spent_usd is not None and theft.spent_usd > 0) == (None, True)
    page = "\n".join(lines(result, what="a test"))
    assert "labelled false alarms told again         0 of 1       1 of 1" in page
    assert "labels kept right                        1 of 2       0 of 2" in page
    assert "labels that the candidate gets wrong: 2; of these the current one keeps right: 1" in page
    wrong = [line.split("  ")[2:] for line in page.splitlines() if line.endswith(" USD") and line.startswith("  2026")]
    assert [line[:2] for line in wrong] == [["lost", STOLEN], ["both", "k00"]]
    assert "false alarm told again" in wrong[0][2]
    assert "theft missed" in wrong[1][2]


@pytest.mark.parametrize(
    ("label", "current", "candidate", "lost"),
    [
        (mark("true"), NO_LIMITS, SILENT, True),
        (mark("true"), SILENT, NO_LIMITS, False),
        (mark("false_positive"), SILENT, NO_LIMITS, True),
        (mark("false_positive"), NO_LIMITS, SILENT, False),
        (mark("expected"), SILENT, NO_LIMITS, True),  # more than was expected
        (mark("expected"), SILENT, SILENT | {"limits": {"usd_per_min": 0.01}}, False),  # of no certain limit
    ],
)
def test_a_label_is_lost_when_the_candidate_alone_gets_it_wrong(
    label: Mark, current: dict[str, Any], candidate: dict[str, Any], lost: bool
) -> None:
    result = compare(folder(current), folder(candidate), marks=(label,))

    assert [each.lost for each in result.labels] == [lost]
    assert (lost_labels(result), as_json(result, what="")["labels_lost"]) == (lost, lost)


def test_labels_that_the_history_does_not_hold_are_counted_and_not_called_missed() -> None:
    another_day = mark("true", from_s=THEFT_S - 30 * DAY_S)
    unused = mark("true", from_s=THEFT_S + 300)  # within the history, but its key rests then
    gone = mark("true", key_id="k01").model_copy(update={"withdrawn": True})
    result = compare(folder(), folder(SILENT), marks=(mark("true", key_id="nobody"), another_day, unused, gone))

    assert (result.labels, result.untried) == ((), 3)
    page = "\n".join(lines(result, what="a test"))
    assert "labels not tried, because this history does not hold their keys or times: 3" in page
    assert "labels kept right" not in page


def test_the_beginning_only_teaches() -> None:
    late = compare(folder(), folder(), from_ms=(THEFT_S + THEFT_LASTS_S + 60) * 1000)

    assert late.current == ()
    assert compare(folder(), folder(), marks=(mark("true"),), from_ms=(THEFT_S + 300) * 1000).labels == ()


def test_frames_may_be_cut_anywhere() -> None:
    whole = backtest(
        folder(), folder({"limits": {"usd_per_min": 0.01}}), [PAST], offered={}, marks=(), from_ms=FIRST_MS,
        last_ms=int(PAST["ts_ms"].to_numpy()[-1]),
    )  # fmt: skip

    assert whole == compare(folder(), folder({"limits": {"usd_per_min": 0.01}}))


def told(opened_s: int, last_s: int, key_id: str = "k") -> Told:
    return Told(f"i{opened_s}", key_id, opened_s * 1000, last_s * 1000, "warning", ("velocity",), "why", 1.0, None)


@pytest.mark.parametrize(
    ("theirs", "alone"),
    [([], True), ([told(0, 10)], True), ([told(50, 95)], False), ([told(160, 200)], True), ([told(140, 200)], False),
     ([told(100, 120, "other")], True)],
)  # fmt: skip
def test_incidents_of_the_same_key_at_the_same_time_are_the_same(theirs: list[Told], alone: bool) -> None:
    ours = [told(100, 120)]

    assert (unmatched(ours, theirs, 30_000) == ours) is alone


def test_the_page_and_the_json_say_the_same() -> None:
    result = compare(folder(), folder(SILENT), marks=(mark("true"),))

    page, data = "\n".join(lines(result, what="a test")), as_json(result, what="a test")

    assert "lost: the current one alone tells: 1" in page
    assert data["lost"] == [data["current"][0]["incident_id"]]
    assert data["current"][0]["why"] in page
    assert data["labels"][0]["candidate"] == {
        "incident_id": None, "kept": False, "lost_usd": pytest.approx(result.labels[0].spent_usd),
    }  # fmt: skip
    for row in data["table"]:
        assert f"{row['what']:<34} {row['current']:>12} {row['candidate']:>12}" in page
