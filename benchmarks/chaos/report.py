"""The table of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.chaos.invariants import Verdict


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
