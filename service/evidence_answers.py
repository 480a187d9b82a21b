"""What the store tells of the audit and of an incident, as JSON: the same from a worker and from the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.audit_chain import Head, Link, Problem, problems
from service.evidence_facts import gather
from storage.audit import beside_the_chain, heads, links, older
from storage.store import Store


class AuditAnswer(BaseModel):
    """What is wrong, in words, and what it was judged by. The heads' signatures are not looked at here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wrong: tuple[str, ...]
    rows: int
    chains: int
    older: int  # rows from before there was a chain
    heads: tuple[Head, ...]
    links: tuple[Link, ...] = ()  # only where they were asked for


def audit_answer(store: Store, from_ms: int | None, until_ms: int | None, *, whole: bool) -> AuditAnswer:
    """Of all times, or of [from_ms, until_ms); `whole` gives the rows as well."""
    part = from_ms is not None or until_ms is not None
    found = links(store, from_ms or 0, 1 << 53 if until_ms is None else until_ms)
    answer = judged(found, tuple(heads(store)), part=part, keep=whole)
    beside = [problem.words for problem in beside_the_chain(store)]
    return answer.model_copy(update={"wrong": (*answer.wrong, *beside), "older": older(store)})


def judged(found: Iterator[Link], written: tuple[Head, ...], *, part: bool, keep: bool = False) -> AuditAnswer:
    """One pass over the rows, without keeping more of them than is asked for."""
    kept: list[Link] = []
    counts: dict[str, int] = {}

    def passing() -> Iterator[Link]:
        for one in found:
            counts[one.chain] = counts.get(one.chain, 0) + 1
            if keep:
                kept.append(one)
            yield one

    wrong: list[Problem] = list(problems(passing(), heads=written, part=part))
    return AuditAnswer(
        wrong=tuple(problem.words for problem in wrong), rows=sum(counts.values()), chains=len(counts), older=0,
        heads=written, links=tuple(kept),
    )  # fmt: skip


def evidence_answer(store: Store, incident_id: str, before_ms: int, *, now_ms: int) -> dict[str, Any] | None:
    """None for an incident that nobody knows."""
    evidence = gather(store, incident_id, before_ms=before_ms, now_ms=now_ms)
    return evidence.model_dump(mode="json") if evidence is not None else None
