"""What must be true of every history, whatever it lived through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from alerting.steps import on_outcome
from benchmarks.containment_faults.history import RESPONSES, History
from benchmarks.containment_faults.orders import KEYS
from containment.limits import DAY_MS, TEN_MIN_MS, per_10min_cap, per_day_cap
from schemas.records import DOUBTS, Outcome, StepState

ENDS: Final = frozenset({StepState.CONFIRMED, StepState.IRREVOCABLE, StepState.REFUSED})
RULES: Final = DOUBTS | {
    "freeze", "per_10min", "per_day", "cooldown", "protected", "unknown_key", "nothing_to_undo",
}  # fmt: skip


def wrong_in(history: History) -> list[str]:
    """Sentences; none when all is as promised."""
    return [*history.wrong, *_ends(history), *_effects(history), *_caps(history), *_pages(history)]


def end_of(history: History, order: str) -> Outcome | None:
    """The last word on an order."""
    told = history.told.get(order)
    return told[-1][1] if told else None


def _ends(history: History) -> Iterator[str]:
    if history.committed != len(history.records):
        yield f"{len(history.records) - history.committed} records are not acknowledged"
    for order in history.placed:
        end = end_of(history, order)
        if end is None:
            yield f"{order}: nobody was told its end"
        elif end.state not in ENDS:
            yield f"{order} ended {end.state}"
        elif end.state is StepState.REFUSED and end.rule not in RULES:
            yield f"{order} was refused by {end.rule or 'no rule'}"
        elif end.state is StepState.IRREVOCABLE and not _calls_a_person(end):
            yield f"{order} is irrevocable, and nobody is called"


def _calls_a_person(end: Outcome) -> bool:
    """What the decide stage makes of it: an open, critical incident that says what to do."""
    incidents = on_outcome(None, end, at_ms=end.at_ms).incidents
    return any((each.state, each.severity) == ("open", "critical") for each in incidents)


def _effects(history: History) -> Iterator[str]:
    changed = Counter(
        (change.order, "throttle" if change.before.level == change.after.level else "level")
        for change in history.provider.changes
    )
    for (order, what), times in changed.items():
        end = end_of(history, order)
        if times > 1:
            yield f"{order} changed the {what} of its key {times} times"
        if end is not None and end.state is StepState.REFUSED:
            yield f"{order} was refused by {end.rule}, and changed the {what} of its key"


def _caps(history: History) -> Iterator[str]:
    """Distinct keys that orders without a person changed, by when the stage was handed the order."""
    cut: list[tuple[float, str]] = []
    for change in history.provider.changes:
        placed = history.placed.get(change.order)
        if placed is not None and placed.command.automatic:
            cut.append((change.judged_s, change.ref))
    caps = RESPONSES.caps
    for window_ms, cap in ((TEN_MIN_MS, per_10min_cap(caps, len(KEYS))), (DAY_MS, per_day_cap(caps, len(KEYS)))):
        for at_s, _ in cut:
            keys = {ref for other_s, ref in cut if at_s - window_ms / 1000 < other_s <= at_s}
            if len(keys) > cap:
                yield f"{len(keys)} keys were changed within {window_ms / 60_000:g} min before {at_s:.0f} s; cap {cap}"


def _pages(history: History) -> Iterator[str]:
    froze = any(b'"by":"keyfuse"' in value for key, value in history.values.items() if key == b"ledger")
    headlines = [page.headline for _, page in history.pages]
    if froze and not any(headline.startswith("Frozen: ") for headline in headlines):
        yield "frozen by Keyfuse, and nobody was called"
    forged = [at_s for at_s, page in history.pages if "was not believed" in page.headline]
    if history.forged and not forged:
        yield "forged orders, and nobody was called"
    for one, other in pairwise(forged):
        if other - one < 600 and history.lives == 1:  # a death in between may call again
            yield f"called for forged orders twice within {other - one:.0f} s"
