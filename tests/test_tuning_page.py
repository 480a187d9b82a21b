"""No knob is undocumented: docs/tuning.md has each setting of detectors.yaml, with a unit and an effect."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.knobs import BEGIN, CHANGES, END, RESULTS, render
from schemas.config import DetectorsConfig
from service.config_settings import settings_of
from service.config_tree import SHADOW

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
SECTIONS = {"environments", "keys", "announced"}  # names of one's own: their settings are what is documented
KNOBS = {setting.key for setting in settings_of(DetectorsConfig)} - SECTIONS


def documented() -> dict[str, list[str]]:
    """Each setting of the table with the other cells of its row."""
    found: dict[str, list[str]] = {}
    table = PAGE.split("## What each setting does")[1].split("\n### ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", cells[0]) if line.startswith("| `") else ():
            found[name] = cells[1:]
    return found


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    assert documented().keys() == KNOBS


def test_every_setting_has_a_unit_and_says_what_it_does_to_alerts() -> None:
    for name, cells in documented().items():
        assert len(cells) == 3, name
        assert all(cells), name


def test_units_agree_with_the_names_of_settings() -> None:
    words = {"usd_per_min": "USD", "usd_per_hour": "USD", "usd_per_day": "USD", "usd_per_month": "USD",
             "alarm_per_key_week": "alarms per key and week", "refractory_s": "seconds", "dedup_s": "seconds",
             "max_future_s": "seconds", "warmup_windows": "windows", "min_requests": "requests",
             "window_samples": "samples", "enabled": "true or false"}  # fmt: skip
    for name, cells in documented().items():
        expected = words.get(name.rpartition(".")[2])
        assert expected is None or cells[0] == "as above" or expected in cells[0], name


def test_the_measured_table_is_what_was_measured() -> None:
    """Mend: `python -m benchmarks.knobs`."""
    result = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert PAGE.split(BEGIN)[1].split(END)[0] == render(result)
    assert list(result["changes"]) == list(CHANGES)


def test_the_shadow_file_is_named() -> None:
    assert SHADOW.name in PAGE
