"""A proposal in words: the table, the trade-off, and the proposed file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final

import yaml

from alerting.words import counted, span
from detectors.explain import number, rounded
from detectors.families import CALIBRATED
from schemas.config import DetectorsConfig
from service.history import WEEK_MS
from service.tune import Tuned
from service.tune_choose import Point
from service.tune_plant import LASTS_S
from service.tune_thefts import Losses

_SHOWN: Final = 9  # points of the curve


def proposal(settings: DetectorsConfig, point: Point) -> DetectorsConfig:
    """The settings in force with the proposed rates, of the families that are switched on."""
    data = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for family, rate in point.rates().items():
        if getattr(settings, family).enabled:
            data[family] = {**data.get(family, {}), "alarm_per_key_week": rate}
    return DetectorsConfig.model_validate(data)


def as_file(settings: DetectorsConfig, tuned: Tuned, *, what: str) -> str:
    """A whole detectors.yaml: what was set before, and the proposed rates."""
    data = proposal(settings, tuned.proposed).model_dump(mode="json", by_alias=True, exclude_unset=True)
    head = [
        f"# Proposed by `keyfuse tune --alerts-per-week {tuned.wanted_per_week:g}` from {what}.",
        "# All that detectors.yaml sets, with other rates; comments are not kept.",
        "# Try it: `keyfuse backtest` with this file; then as detectors.shadow.yaml; then as detectors.yaml.",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(data, sort_keys=False, default_flow_style=False)


def lines(tuned: Tuned, *, what: str) -> Iterator[str]:
    """The page for the terminal."""
    yield f"{what}: {counted(tuned.keys, 'key')}, {_judged(tuned)} judged"
    yield _thefts(tuned)
    yield ""
    yield f"{'alarm_per_key_week':<20} {'now':>10} {'proposed':>10}"
    now, then = tuned.current, tuned.proposed.rates()
    for at, family in enumerate(CALIBRATED):
        before = now.rates()[family] if isfinite(now.floors[at]) else None
        if before is not None:
            yield f"{family:<20} {number(before):>10} {number(then[family]):>10}"
    yield ""
    yield f"{'':<32} {'now':>10} {'proposed':>10}"
    for words, before_, after in _measures(tuned.current, tuned.proposed):
        yield f"{words:<32} {before_:>10} {after:>10}"
    yield ""
    yield "all rates together:"
    yield f"{'rates times':>12} {'alerts/week':>12} {'thefts told':>12} {'cut':>6} {'USD lost':>14}"
    step = max(len(tuned.curve) // _SHOWN, 1)
    for times, point in tuned.curve[::step]:
        yield _curve_row(times, point)
    yield from _warnings(tuned)


def _judged(tuned: Tuned) -> str:
    return span(tuned.weeks * WEEK_MS / 1000)


def _thefts(tuned: Tuned) -> str:
    if not tuned.thefts:
        return "no theft is labelled, and the history is too short to plant any: only alerts are counted"
    if not tuned.planted:
        return f"measured against {counted(len(tuned.thefts), 'theft')} that people have marked"
    kinds = ", ".join(dict.fromkeys(theft.name for theft in tuned.thefts))
    return (
        f"no theft is labelled, so {len(tuned.thefts)} were planted on the history's own keys, {LASTS_S // 60} minutes "
        f"each, times what the key usually spends: {kinds}"
    )


def _measures(now: Point, then: Point) -> Iterator[tuple[str, str, str]]:
    (told, cut, waits, lost), (told_then, cut_then, waits_then, lost_then) = _shown(now.losses), _shown(then.losses)
    yield "alerts per week", number(now.per_week), number(then.per_week)
    yield "thefts told", told, told_then
    yield "thefts cut by itself (mode auto)", cut, cut_then
    yield "seconds to the message, median", waits, waits_then
    yield "USD lost", lost, lost_then


def _shown(found: Losses) -> tuple[str, str, str, str]:
    told, cut = (f"{count} of {found.thefts}" for count in (found.told, found.cut))
    return told, cut, f"{found.median_s:.0f}" if isfinite(found.median_s) else "-", f"{found.lost_usd:,.0f}"


def _curve_row(times: float, point: Point) -> str:
    found = point.losses
    told = f"{found.told}/{found.thefts}"
    return f"{number(times):>12} {number(point.per_week):>12} {told:>12} {found.cut:>6} {found.lost_usd:>14,.0f}"


def _warnings(tuned: Tuned) -> Iterator[str]:
    if tuned.chosen_on and tuned.held_out:
        yield ""
        yield (
            f"check: chosen on half of the keys, {tuned.chosen_on.told} of {tuned.chosen_on.thefts} thefts there are "
            f"told; on the other half, with the same thresholds, {tuned.held_out.told} of {tuned.held_out.thefts}"
        )
    if tuned.unmovable_per_week > tuned.wanted_per_week:
        yield ""
        yield (
            f"limits, policies and budgets alone come to {number(tuned.unmovable_per_week)} alerts a week: "
            "mark what was a theft (`keyfuse mark`), raise those that healthy keys break"
        )
    elif tuned.proposed.per_week > tuned.wanted_per_week:
        yield ""
        yield (
            f"fewer than {number(tuned.proposed.per_week)} alerts a week cannot be had here by thresholds; a family "
            "that is not worth it can be switched off (`enabled: false`)"
        )
    missed = tuned.current.losses.told - tuned.proposed.losses.told
    if missed > 0:
        yield ""
        yield (
            f"the price of fewer alerts: {counted(missed, 'theft')} fewer would be told; if some of the alerts were "
            "thefts, mark them (`keyfuse mark`) and tune again"
        )
    if tuned.weeks < 1:
        yield ""
        yield f"{_judged(tuned)} of history is little: a rate of less than one alert in that time is a guess"


def as_json(tuned: Tuned, *, what: str) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "history": {"what": what, "keys": tuned.keys, "weeks": rounded(tuned.weeks)},
        "wanted_alerts_per_week": tuned.wanted_per_week,
        "unmovable_alerts_per_week": rounded(tuned.unmovable_per_week),
        "planted": tuned.planted,
        "thefts": [{"name": each.name, "key_id": each.key_id, "from_ms": each.from_ms} for each in tuned.thefts],
        "current": _point(tuned.current), "proposed": _point(tuned.proposed),
        "curve": [{"rates_times": times} | _point(point) for times, point in tuned.curve],
        "held_out": _losses(tuned.held_out) if tuned.held_out else None,
    }  # fmt: skip


def _point(point: Point) -> dict[str, Any]:
    return {
        "alarm_per_key_week": point.rates(), "alerts_per_week": rounded(point.per_week),
        "losses": _losses(point.losses),
    }  # fmt: skip


def _losses(found: Losses) -> dict[str, Any]:
    median_s = rounded(found.median_s) if isfinite(found.median_s) else None
    return found._asdict() | {"lost_usd": round(found.lost_usd, 2), "median_s": median_s}
