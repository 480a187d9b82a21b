"""docs/providers.md: what each provider can do to a key, from the pages of the providers: they cannot say two things.

python -m service.provider_page > docs/providers.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from containment.providers.build import KINDS
from containment.providers.harmless import KINDS as CALLS

PAGES: Final = Path(__file__).parents[1] / "docs" / "providers"
WITHOUT_PAGE: Final = frozenset({"sandbox"})
"""Ships for the demo and for tests; it has no account anywhere."""
HEAD: Final = """# Providers

What Keyfuse can do to one key at each provider: every step is read back after it was ordered, and what was there before
is kept, so that what has an undo can be undone. Nothing here was tried against a provider's own production service.

"Verified by" is what is always looked at. Where a key's own secret is at hand, a cut is tried with it as well:
[a call with the key](containment.md#a-call-with-the-key). {with_call} know
such a call, the others are told it (`probe_url`).

<!-- Made by `python -m service.provider_page` from the pages of the providers; a test keeps it true. -->

| provider | step | undo | reach | usual time | verified by |
|---|---|---|---|---|---|
"""


class StepRow(NamedTuple):
    """One row of a page's table of steps."""

    provider: str
    step: str
    undo: str
    reach: str
    usual_time: str
    verified_by: str


def rows_of(kind: str) -> list[StepRow]:
    """The steps of a provider's page, in its order.

    Raises:
        ValueError: the page has no table of steps.
    """
    lines = iter(_section(kind, "Steps").splitlines())
    head = next((_cells(line) for line in lines if line.startswith("| ")), None)
    if head is None:
        raise ValueError(f"docs/providers/{kind}.md has no table of steps")
    rows = [dict(zip(head, _cells(line), strict=True)) for line in lines if line.startswith("| ")]
    title = _text(kind).splitlines()[0].removeprefix("# ")
    name = f"[{title}](providers/{kind}.md)"
    return [
        StepRow(f"{name}: {row['reference']}" if "reference" in row else name, row["step"], row["undo"], row["reach"],
                row["usual time"], row["verified by"])
        for row in rows
    ]  # fmt: skip


def tried_on(kind: str) -> str:
    """What its adapter was tried on, as its page says."""
    return _section(kind, "Tested against").strip()


def page() -> str:
    """The whole page."""
    with_call = sorted(kind for kind, how in CALLS.items() if how.path)
    return HEAD.format(with_call=", ".join(with_call)) + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    kinds = sorted(set(KINDS) - WITHOUT_PAGE)
    for kind in kinds:
        for row in rows_of(kind):
            yield f"| {' | '.join(row)} |"
    yield "\n## Tested against"
    for kind in kinds:
        yield f"\n### {kind}\n\n{tried_on(kind)}"


def _text(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text(encoding="utf-8")


def _section(kind: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", _text(kind), re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def _cells(line: str) -> list[str]:
    """The cells of a table's row; a bar within code is written with a backslash."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def main() -> None:
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
