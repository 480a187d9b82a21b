"""The generated pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from service.config_docs import render_docs as configuration
from service.config_settings import settings_of
from service.config_tree import FILES
from streams.metrics import COUNTERS, GAUGES, HISTOGRAMS
from streams.metrics import render_docs as metrics

DOCS = Path(__file__).parents[1] / "docs"


def test_configuration_page_is_current() -> None:
    """Mend: `python -m service.config_folder > docs/configuration.md`."""
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == configuration()


def test_metrics_page_is_current() -> None:
    """Mend: `python -m streams.metrics > docs/metrics.md`."""
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == metrics()


def test_every_setting_has_a_row_with_its_meaning() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    for file in FILES:
        chapter = page.split(f"\n## {file.name}\n")[1].split("\n## ")[0]
        rows = dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", chapter, re.MULTILINE))
        settings = list(settings_of(file.model))
        assert rows.keys() == {setting.key for setting in settings}
        assert all(setting.meaning for setting in settings), file.name


def test_every_metric_has_a_row() -> None:
    rows = re.findall(r"^\| `(keyfuse_\w+)` \|", (DOCS / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [*COUNTERS, *GAUGES, *HISTOGRAMS]
