"""docs/providers.md says what the code does, and every provider is on it."""

from __future__ import annotations

from importlib import import_module

import pytest

from containment.providers.build import DECLARED, KINDS
from service.provider_page import PAGES, WITHOUT_PAGE, page, rows_of, tried_on

DOCUMENTED = sorted(set(KINDS) - WITHOUT_PAGE)


def test_the_page_is_made_from_the_pages_of_the_providers() -> None:
    """Mend: `python -m service.provider_page > docs/providers.md`."""
    assert (PAGES.parent / "providers.md").read_text(encoding="utf-8") == page()


def test_every_provider_has_a_page_and_every_page_a_provider() -> None:
    assert sorted(file.stem for file in PAGES.glob("*.md")) == DOCUMENTED


@pytest.mark.parametrize("kind", DOCUMENTED)
def test_it_says_what_it_was_tried_on(kind: str) -> None:
    assert len(tried_on(kind)) > 40


@pytest.mark.parametrize("kind", sorted(set(DOCUMENTED) - DECLARED))
def test_its_steps_are_those_of_the_code_and_what_is_final_says_so(kind: str) -> None:
    steps = import_module(f"containment.providers.{kind}").STEPS
    said: dict[str, set[bool]] = {}
    for row in rows_of(kind):
        said.setdefault(row.step.split()[0], set()).add(row.undo.startswith("yes"))
    assert set(said) == set(steps)
    for step, undoable in said.items():
        assert (False not in undoable) == steps[step].reversible, step
