"""`keyfuse shadow`: from when it compares, and that it says what a backtest would say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.config import DetectorsConfig
from schemas.records import TRIAL, AuditRow, Leak
from service.config_folder import ConfigErrors, FolderWatch, load_folder
from service.config_tree import Folder
from service.errors import UserError
from service.install import Install
from service.play import feed, new_cores
from service.shadow_command import began, compared, unheard
from streams.shadow import version_of
from tests.service.past import FIRST_MS, STOLEN, THEFT_S, as_frame, events
from tests.service.test_backtest import SILENT, compare, folder

STRICT = DetectorsConfig.model_validate({"limits": {"usd_per_min": 1.0}})
LOOSE = DetectorsConfig.model_validate({"limits": {"usd_per_min": 9.0}})


def started(*rows: tuple[DetectorsConfig, int]) -> list[AuditRow]:
    return [
        AuditRow(audit_id=str(at), at_ms=at, actor="keyfuse", action=TRIAL, key_id="", incident_id="", command_id="",
                 result=version_of(settings))
        for settings, at in rows
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shadow", "rows", "at"),
    [
        (STRICT, [(STRICT, 10)], 10),
        (STRICT, [(STRICT, 10), (STRICT, 20)], 10),  # a worker was restarted
        (STRICT, [(STRICT, 10), (LOOSE, 20), (STRICT, 30), (STRICT, 40)], 30),
        (LOOSE, [(STRICT, 10), (LOOSE, 20)], 20),
        (None, [(STRICT, 10), (LOOSE, 20), (LOOSE, 30)], 20),  # taken away: the last one there was
    ],
)
def test_the_time_begins_when_this_candidate_was_first_heard_without_a_break(
    shadow: DetectorsConfig | None, rows: list[tuple[DetectorsConfig, int]], at: int
) -> None:
    assert began(Install(replace(Folder(), shadow=shadow), Path("conf")), started(*rows)) == at


def test_a_candidate_that_nobody_heard_is_told() -> None:
    with pytest.raises(UserError, match=r"put one into conf/detectors\.shadow\.yaml"):
        began(Install(Folder(), Path("conf")), [])
    with pytest.raises(UserError, match="was not heard yet"):
        began(Install(replace(Folder(), shadow=LOOSE), Path("conf")), started((STRICT, 10)))
    with pytest.raises(UserError, match="was not heard yet"):
        began(Install(replace(Folder(), shadow=LOOSE), Path("conf")), [])


def test_a_time_before_the_candidate_came_is_told() -> None:
    install = Install(replace(Folder(), shadow=LOOSE), Path("conf"))

    assert list(unheard(install, started((LOOSE, 20_000)), 20_000)) == []
    [told] = unheard(install, started((LOOSE, 20_000)), 19_999)
    assert told.startswith("the candidate is heard since 1970-01-01 00:00 UTC")
    [told] = unheard(install, started((STRICT, 20_000)), 30_000)
    assert "was not heard yet" in told


def test_what_was_said_live_compares_like_a_backtest() -> None:
    current, candidate = folder(), folder(SILENT)
    told = {}
    for name, one in (("current", current), ("candidate", candidate)):
        cores, past = new_cores(one), as_frame(events())
        found = [finding for _, _, part in feed(cores, past) for finding in part]
        found += [finding for core in cores for finding in core.advance(THEFT_S + 601)]
        told[name] = sorted(found, key=lambda finding: finding.at_ms)
    reported = Leak(source="paste", told_at_ms=FIRST_MS)
    told["current"] += [told["current"][0].model_copy(update={"key_id": "k", "family": "leak", "leak": reported})]

    result = compared(
        current, candidate.detectors, told["current"], told["candidate"], offered={}, marks=[], from_ms=FIRST_MS,
        last_ms=(THEFT_S + 600) * 1000,
    )  # fmt: skip

    expected = compare(current, candidate)
    assert (result.current, result.lost) == (expected.current, expected.lost)
    assert [each.key_id for each in result.lost] == [STOLEN]


def test_a_folder_without_the_file_has_nothing_on_trial(tmp_path: Path) -> None:
    assert load_folder(tmp_path).shadow is None
    (tmp_path / "detectors.shadow.yaml").write_text("limits: {usd_per_min: 1}\n", encoding="utf-8")

    assert load_folder(tmp_path).shadow == STRICT


def test_a_candidate_comes_changes_and_goes_while_it_is_watched(tmp_path: Path) -> None:
    file, watch = tmp_path / "detectors.shadow.yaml", FolderWatch(tmp_path)
    assert watch.current.shadow is None
    file.write_text("limits: {usd_per_min: 1}\n", encoding="utf-8")
    assert watch.poll() == replace(Folder(), shadow=STRICT)
    file.write_text("limits: {usd_per_min: 9.0}\n", encoding="utf-8")
    assert watch.poll() == replace(Folder(), shadow=LOOSE)
    file.unlink()
    assert watch.poll() == Folder()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("detectors.shadow.yaml", "limits: {usd_per_minute: 1}", 'did you mean "usd_per_min"'),
        ("detectors.shadow.yaml", "keys: {fp1:zz: {usd_per_min: 1}}", "detectors.shadow.yaml:1"),
        ("detectors.shadow.yaml", "announced: [{what: w, owner: o, reason: r, from: 2026-01-01, until: 2026-01-02}]",
         "teams, apps or envs"),
        ("detector.shadow.yaml", "limits: {}", 'did you mean "detectors.shadow.yaml"'),
    ],
)  # fmt: skip
def test_a_candidate_is_checked_like_the_file_it_may_replace(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text + "\n", encoding="utf-8")

    with pytest.raises(ConfigErrors) as refused:
        load_folder(tmp_path)

    assert words in str(refused.value)
