"""The pages of the detectors say what the code says, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from detectors.ensemble import MODULES
from detectors.families import LEARNED
from schemas.config import DetectorsConfig
from service.config_settings import settings_of
from service.detector_pages import BEGIN, END, main, pages, settings_on, with_tables
from service.detector_source import Note, fields_of, figures_in, sentences_of, words_of

DOCS = Path(__file__).parents[2] / "docs"
OVERVIEW = (DOCS / "detectors.md").read_text(encoding="utf-8")
PAGES = pages()
each_page = pytest.mark.parametrize("name", PAGES)
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


@each_page
def test_a_page_is_current(name: str) -> None:
    """Mend: `python -m service.detector_pages`."""
    assert (DOCS / "detectors" / name).read_text(encoding="utf-8") == PAGES[name]


def test_the_tables_of_the_overview_are_current() -> None:
    """Mend: `python -m service.detector_pages`."""
    assert with_tables(OVERVIEW) == OVERVIEW


def test_each_detector_has_a_page_and_no_page_is_left_over() -> None:
    assert {page.name for page in (DOCS / "detectors").iterdir()} == {f"{name}.md" for name in MODULES}


def test_each_setting_of_the_file_is_on_a_page() -> None:
    shown = {
        key for text in (*PAGES.values(), OVERVIEW) for key in re.findall(r"^\| `([^`]+)` \|.*\|$", text, re.MULTILINE)
    }
    assert {setting.key for setting in settings_of(DetectorsConfig)} <= shown


@each_module
def test_each_field_of_its_state_says_what_it_is(module: ModuleType) -> None:
    """Mend: a comment behind the field in `FIELDS`."""
    assert [field.name for field in fields_of(module) if not field.meaning] == []


@each_module
def test_each_detector_says_a_sentence(module: ModuleType) -> None:
    """Mend: an example in the docstring of `step` that is loud."""
    assert sentences_of(module)


@pytest.mark.parametrize("name", MODULES)
def test_a_page_shows_the_settings_example_and_sentence_of_its_detector(name: str) -> None:
    text, module = PAGES[f"{name}.md"], MODULES[name]

    assert all(f"| `{setting.key}` |" in text for setting in settings_on(name))
    assert words_of(module.step.__doc__)[1] in text
    assert all(f"| {told.what} |" in text for _, told in sentences_of(module))
    assert (f"default `{name}.alarm_per_key_week`" in text) == (module.FAMILY in LEARNED)


def test_limits_of_environments_and_keys_are_with_the_limits() -> None:
    keys = [setting.key for setting in settings_on("limits")]

    assert keys[:2] == ["limits.enabled", "limits.usd_per_min"]
    assert {"environments.<name>.usd_per_hour", "keys.<name>.requests_per_s"} <= set(keys)
    assert "keys.<name>.usd_per_day" not in keys


SOURCE = '''
"""A module."""

PLAIN: Final = 1
BESIDE: Final = 0.5  # half of all
MANY: Final = (
    2  # first of them,
    + 3  # then these
)
LOUD: Final = {"a": 1}  # fmt: skip
BOTH: Final = 4  # a comment  # noqa: X - for a tool
UNDER: Final = [1, 2]
"""What it
means."""
low, high = 1, 9  # ends


def FIELDS() -> None:  # not a figure
    """Nothing."""
'''


def test_figures_are_read_with_what_is_written_of_them() -> None:
    assert figures_in(SOURCE) == [
        Note("BESIDE", "0.5", "half of all"),
        Note("MANY", "2 + 3", "first of them, then these"),
        Note("BOTH", "4", "a comment"),
        Note("UNDER", "[1, 2]", "What it means."),
        Note("low, high", "(1, 9)", "ends"),
    ]


def test_fields_are_counted_in_bytes() -> None:
    fields = {field.name: field for field in fields_of(MODULES["rhythm"])}

    assert fields["rhy_usual"].value == "48"
    assert fields["rhy_busy"].meaning.startswith("use within 24 hours")


def test_an_example_that_does_not_hold_is_not_shown() -> None:
    wrong = ModuleType("wrong")
    wrong.step = lambda: None  # type: ignore[attr-defined]  # made here
    wrong.step.__doc__ = "A score.\n\n>>> 1 + 1\n3\n"

    with pytest.raises(ValueError, match=r"Expected:\s+3"):
        sentences_of(wrong)


def test_what_is_written_by_hand_stays() -> None:
    renewed = with_tables(f"before\n{BEGIN}as it was\n{END}after\n")

    assert renewed.startswith(f"before\n{BEGIN}")
    assert renewed.endswith(f"{END}after\n")
    assert "as it was" not in renewed


@pytest.mark.parametrize("page", ["nothing", BEGIN, END])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="missing"):
        with_tables(page)


def test_pages_are_written_beside_their_overview(tmp_path: Path) -> None:
    overview = tmp_path / "detectors.md"
    overview.write_text(f"{BEGIN}{END}", encoding="utf-8")

    main(["--out", str(tmp_path / "detectors")])

    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "detectors").iterdir()} == PAGES
    assert "| [velocity](detectors/velocity.md) |" in overview.read_text(encoding="utf-8")


def test_a_folder_without_an_overview_gets_its_pages(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "new" / "pages")])

    assert len(list((tmp_path / "new" / "pages").iterdir())) == len(PAGES)
    assert not (tmp_path / "new" / "pages.md").exists()
