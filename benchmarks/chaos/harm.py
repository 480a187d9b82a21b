"""Whether it was broken as much as it says, and whether each process ended as it may. Pure."""

from __future__ import annotations

import signal
from collections import Counter

from benchmarks.chaos.collected import Collected
from benchmarks.chaos.ends import by_fault, why_wrong, without_fault
from benchmarks.chaos.schedule import Size
from benchmarks.chaos.verdict import Verdict, verdict


def broken(left: Collected, size: Size) -> Verdict:
    """What happened, not what was planned: a machine that is too slow for the schedule does not pass."""
    ended, least = by_fault(left.ends).total(), size.least
    away_s = max(
        (gone.ended_s - gone.began_s for gone in left.outages if gone.what == "store is unreachable"), default=0
    )
    wrong = [f"faults ended {ended} processes, not {least.ended}"] if ended < least.ended else []
    if left.rebalances.total() < least.rebalances:
        wrong.append(f"{left.rebalances.total()} rebalances, not {least.rebalances}")
    wrong += [f"no rebalance left {count} workers" for count in sorted(least.members - left.rebalances.keys())]
    if away_s < size.store_away_s:
        wrong.append(f"the store was away for {away_s:.0f} s at most, not {size.store_away_s:.0f}")
    return verdict(
        "it was broken as much as it says", f"{ended} processes ended by faults, {left.rebalances.total()} rebalances, "
        f"the store not reached for {away_s:.0f} s", wrong,
    )  # fmt: skip


def ended(left: Collected) -> Verdict:
    wrong = [words for end in left.ends if (words := why_wrong(end, left.outages)) is not None]
    how = _counts(Counter(_named(end.status) for end in left.ends))
    return verdict("each process ends in order, by its signal, or says why it cannot start", how, wrong)


def rows(left: Collected) -> dict[str, str]:
    """For the table of what was done to it."""
    faults, others = by_fault(left.ends), without_fault(left.ends)
    members = left.rebalances
    return {
        "processes that faults ended": f"{faults.total()}: {_counts(faults)}",
        "processes that ended otherwise": f"{others.total()}: {_counts(others)}",
        "rebalances of the score stage, by the workers that shared it then": f"{members.total()}: "
        + ", ".join(f"{count} with {number}" for number, count in sorted(members.items())),
    }


def _named(status: int | None) -> str:
    if status is None:
        return "never"
    return f"exit code {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counted.items())) or "none"
