"""The table of a run, and the page that shows it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.chaos.verdict import Verdict

BEGIN: Final = "<!-- chaos -->\n"
END: Final = "<!-- /chaos -->"


def block(command: str, machine: Mapping[str, Any], took_s: float, wrong: int, tables: str) -> str:
    """What a page says of a run."""
    minutes, seconds = divmod(round(took_s), 60)
    return (
        f"`{command}` on {machine['cores']} cores ({machine['cpu']}; load {machine['load_1m']:.0f} at the end):"
        f" {minutes} minutes {seconds} s, wrong: {wrong}.\n\n{tables}\n"
    )


def with_block(page: str, new: str) -> str:
    """The page with `new` between its marks.

    >>> with_block("before <!-- chaos -->\\nold\\n<!-- /chaos --> after", "new\\n")
    'before <!-- chaos -->\\nnew\\n<!-- /chaos --> after'
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} … {END}")
    return f"{before}{begin}{new}{end}{after}"


def table(happened: Mapping[str, object], found: Sequence[Verdict]) -> str:
    """What was done to it, and what is left."""
    return "\n".join([
        *_rows(("done to it", ""), happened.items()), "",
        *_rows(("what must hold", "figures"), ((v.what, f"{v.figures}: {_verdict(v)}") for v in found)),
    ])  # fmt: skip


def mistakes(found: Sequence[Verdict], seed: int, command: str) -> list[str]:
    """Each with the way to see it again."""
    return [f"WRONG {verdict.what}: {words}; seed {seed}: `{command}`" for verdict in found for words in verdict.wrong]


def _verdict(verdict: Verdict) -> str:
    return f"**wrong** ({len(verdict.wrong)})" if verdict.wrong else "holds"


def _rows(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
