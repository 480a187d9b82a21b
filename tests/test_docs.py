"""The generated pages say what the code says; what the written ones name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from service.cli import app
from service.config_docs import render_docs as configuration
from service.config_settings import settings_of
from service.config_tree import FILES
from streams.metrics import COUNTERS, GAUGES, HISTOGRAMS
from streams.metrics import render_docs as metrics

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [page for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))) if page.exists()]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of commands
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


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


def code_of(page: Path) -> Iterator[str]:
    """What is set as code: the lines of each block, and each span in the text."""
    blocks = re.split(r"^ *```.*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, text in enumerate(blocks):
        if number % 2:
            yield from text.replace("\\\n", " ").splitlines()
        else:
            yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", text))


@each_page
def test_every_command_exists_with_its_options(page: Path) -> None:
    for code in code_of(page):
        for name, rest in re.findall(r"(?<![\w./=-])keyfuse +([a-z][a-z-]*)([^|;&#]*)", code):
            assert name in COMMANDS, code
            command, words = COMMANDS[name], rest.split()
            while hasattr(command, "commands") and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
                assert words[0] in command.commands, code
                command = command.commands[words.pop(0)]
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) <= known, code


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for code in code_of(page):
        for name in re.findall(r"(?:^|[;&$(] *)make +([a-z][a-z-]*)", code):
            assert name in targets, code


@each_page
def test_every_file_that_is_linked_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for link in links:
        if not re.match(r"[a-z]+:|#", link):
            assert (page.parent / link.split("#")[0]).exists(), link


def test_the_checks_look_at_something() -> None:
    codes = [code for page in PAGES for code in code_of(page)]
    assert sum("keyfuse " in code for code in codes) >= 10
