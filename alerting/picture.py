"""An incident as a picture: the key's last hours against its normal, and the moments that matter.

Left the last day in steps of ten minutes, right the last hour by minute, on one scale. Drawn with matplotlib's own
renderer, which is loaded when the first picture is wanted. The same incident gives the same bytes on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from alerting.budgets import standing
from alerting.moments import Moment, moments
from alerting.words import INCIDENT_WORDS, clean, usd
from schemas.records import Incident, Sketch

SIZE_IN: Final = (6.4, 3.4)
DPI: Final = 150
_LEAST_TENS: Final = 3
_NEW_WINDOWS: Final = 3
_LONGEST_AFTER_MIN: Final = 15.0  # how far past its last minute a picture reaches for a late step


class Series(NamedTuple):
    """What one panel shows: times in minutes relative to the sketch's last moment, spend in USD per minute."""

    begin_min: float
    end_min: float
    step_min: float
    spend: tuple[float, ...]  # the bars before `bars_end_min`, oldest first
    bars_end_min: float
    peak: float  # the most that is normal in one step; 0: not known
    by_hour: tuple[float, ...]  # beside each bar: the most that is normal at this hour of the day
    head: str
    normal: str  # what the peak means, in words


def picture(incident: Incident, *, dpi: int = DPI) -> bytes | None:
    """PNG bytes; None for an incident without a sketch. It takes a core for some tenths of a second."""
    if incident.budget is not None:
        from alerting.picture_budget import draw_budget  # noqa: PLC0415 - as below

        return draw_budget(incident.budget, size_in=SIZE_IN, dpi=dpi)
    sketch = incident.sketch
    if sketch is None or not sketch.minutes.counts:
        return None
    from alerting.picture_panel import draw  # noqa: PLC0415 - loads matplotlib, and most processes never draw

    marks = moments(incident)
    return draw(
        title=f"{_short(incident.key_id)}   {_whose(incident)}", state=_state(incident),
        panels=panels(sketch, marks), marks=marks, at_ms=sketch.at_ms, size_in=SIZE_IN, dpi=dpi,
    )  # fmt: skip


def caption(incident: Incident) -> str:
    """What the picture shows, for those who cannot see it."""
    if incident.budget is not None:
        view = incident.budget
        return clean(f"Spend of the budget {view.budget} in its period {view.period}: {standing(view)}.", 500)
    return clean(f"Spend of key {incident.key_id}, {_whose(incident)}, over its last hours: {_state(incident)}.", 500)


def panels(sketch: Sketch, marks: tuple[Moment, ...]) -> tuple[Series, ...]:
    """The last day, where it is known, and the last hour."""
    latest_min = max((mark.at_ms - sketch.at_ms) / 60_000 for mark in marks)
    ends_min = 1 - _into(sketch, 60)
    begin_min = ends_min - len(sketch.minutes.counts)
    end_min = min(max(latest_min + 1, 1.0), _LONGEST_AFTER_MIN)
    hour = _series(sketch, sketch.minutes.values, (begin_min, end_min), ends_min, step_min=1.0)
    ends_min, tens = 10 - _into(sketch, 600), list(sketch.tens.values)
    while tens and ends_min - 10 >= begin_min:  # these are shown by minute
        tens.pop()
        ends_min -= 10
    if len(tens) < _LEAST_TENS:
        return (hour._replace(head="$ per minute, last hour (UTC)"),)
    day = _series(sketch, tens, (ends_min - 10 * len(tens), begin_min), ends_min, step_min=10.0)
    later = hour if hour.peak else hour._replace(normal="")
    return day._replace(head=f"$ per minute, {round(len(tens) / 6)} hours before (UTC)"), later


def _series(
    sketch: Sketch, values: Sequence[float | None], span: tuple[float, float], ends_min: float, *, step_min: float
) -> Series:
    peak = sketch.peak_1m if step_min == 1 else sketch.peak_10m
    spend = tuple(value or 0.0 for value in values)
    by_hour = [value or 0.0 for value in sketch.by_hour.values] or [0.0] * 24
    end_h = (sketch.at_ms / 60_000 + ends_min) / 60
    hours = [int(end_h - step_min / 60 * (len(spend) - n - 0.5)) % 24 for n in range(len(spend))]
    words = "no normal yet: a new key" if sketch.windows < _NEW_WINDOWS else ""
    if peak:
        words = f"normal: up to {_fine(peak)}" + (" in a minute" if step_min == 1 else "")
    return Series(
        *span, step_min, spend, ends_min, peak, tuple(min(by_hour[hour], peak) for hour in hours),
        "last hour, by minute", words,
    )  # fmt: skip


def _fine(amount: float) -> str:
    """Cents, or what is left of them.

    >>> _fine(3.127), _fine(0.00123)
    ('$3.13', '$0.0012')
    """
    return usd(amount) if amount >= 0.01 else f"${float(f'{amount:.2g}'):.12f}".rstrip("0")


def _into(sketch: Sketch, unit_s: int) -> float:
    """Minutes since the running minute, or ten minutes, began."""
    return sketch.at_ms / 1000 % unit_s / 60


def _state(incident: Incident) -> str:
    now, normal = usd(incident.usd_per_min), usd(incident.expected_usd_per_min)
    usually = f"normally {normal}" if incident.expected_usd_per_min else "no normal known"
    return f"{INCIDENT_WORDS[incident.state]}: spends {now} a minute, {usually}"


def _whose(incident: Incident) -> str:
    facts = incident.facts
    return f"{clean(facts.team, 18)}/{clean(facts.app, 18)} ({clean(facts.env, 12)})"


def _short(key_id: str) -> str:
    """The ends of a long key id: people compare those."""
    key_id = clean(key_id, 200)
    return key_id if len(key_id) <= 36 else f"{key_id[:18]}…{key_id[-12:]}"
