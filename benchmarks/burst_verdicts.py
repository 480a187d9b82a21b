"""What a burst must not have done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.burst_senders import request_id

_OFFERED: Final = 0.95
"""Of what was meant to be sent: what the generator must really have sent."""


def compared(accepted: Sequence[int], rows: Mapping[str, int], events: int) -> dict[str, int]:
    """Rows of the archive against the requests that were accepted.

    >>> compared([1, 2], {"http-00000001": 5, "http-00000002": 4, "http-00000003": 5}, 5)
    {'accepted': 10, 'rows': 14, 'incomplete': 1, 'of_others': 5}
    """
    names = {request_id(number) for number in accepted}
    return {
        "accepted": len(names) * events, "rows": sum(rows.values()),
        "incomplete": sum(rows.get(name, 0) != events for name in names),
        "of_others": sum(count for name, count in rows.items() if name not in names),
    }  # fmt: skip


def broken(found: Mapping[str, Any]) -> list[str]:
    """What does not hold of the promise, in words; empty when all of it does."""
    kafka, intake, bound_mb = found["kafka"], found["intake"], found["rss_bound_mb"]
    wanted_per_s = found["sizes"]["times"] * kafka["takes_per_s"]
    wrong = {
        "an event is not one row": not kafka["sent_in_all"] == kafka["rows"] == kafka["distinct"],
        "dead letters": kafka["dead_letters"],
        "a stage stood still and was begun anew": kafka["begun_anew"],
        "less was offered than the burst should be": kafka["offered_per_s"] < _OFFERED * wanted_per_s,
        "the worker grew beyond the bound": kafka["rss_growth_mb"] > bound_mb,
        "the intake grew beyond the bound": intake["rss_growth_mb"] > bound_mb,
        "another answer than 202 and 429": set(intake["statuses"]) - {"202", "429"},
        "nothing was answered 429, so that it was no burst": "429" not in intake["statuses"],
        "a request was cut off": intake["broken"],
        "an accepted request is not whole in the archive": intake["incomplete"],
        "a request that was refused is in the archive": intake["of_others"],
        "an event over HTTP is in the archive twice": intake["rows"] != intake["distinct"],
        "after the burst it does not accept again": "202" not in intake["after"]["statuses"],
    }
    return [words for words, is_so in wrong.items() if is_so]
