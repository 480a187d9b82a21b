"""Results as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.containment.clean import Clean
from benchmarks.containment.measures import Interval, Result, poisson_upper, summary, wilson
from benchmarks.containment.traffic import World
from benchmarks.containment.trials import FIRST_MS
from schemas.config.detectors import VelocityConfig

_DAY_MIN: Final = 1440


def setup_lines(world: World, *, starts: int, thefts: int) -> str:
    per_key = np.bincount(world.clean.key, minlength=len(world.profiles))
    thin = np.quantile(world.thinning, (0.1, 0.5, 0.9))
    return (
        f"{world.source}; {len(world.profiles)} keys, 14 days, {world.clean.rows:,} requests "
        f"(median {np.median(per_key):,.0f} a key), {world.clean.usd:,.0f} USD; thinned: each key keeps one request in "
        f"{thin[0]:,.0f} / {thin[1]:,.0f} / {thin[2]:,.0f} (10th, 50th, 90th percentile of keys). "
        f"Week-long copies go without {sum(rhythm.dense for rhythm in world.rhythms)} keys that crowd some window. "
        f"{thefts} thefts at {starts} moments of week 2, seed {world.seed}."
    )


def thefts_table(results: Sequence[Result], *, title: str) -> str:
    """One row per family and size."""
    lines = [
        f"### {title}",
        "",
        "| theft | n | found (95 % CI) | by chance | s to alert, median / p95 | requests | cut | s to cut | "
        "USD lost at alert | USD lost at cut: median / p95 / max | value: money / mean | saved by cuts: money / mean "
        "| by |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        cells.setdefault((result.family, result.size), []).append(result)
    for (family, size), own in cells.items():
        lines.append(_row(f"{family} {size}", own))
    lines.append(_row("**all**", results))
    return "\n".join(lines)


def _row(name: str, results: Sequence[Result]) -> str:
    s = summary(results)
    by = ", ".join(f"{family} {count}" for family, count in s.by)
    lost = " / ".join(_usd(value) for value in s.lost_at_cut_usd)
    return (
        f"| {name} | {s.thefts} | {share(s.recall)} | {_pct(s.anyway)} "
        f"| {_n(s.seconds[0])} / {_n(s.seconds[1])} | {_n(s.events)} "
        f"| {_pct(s.cut.value)} | {_n(s.cut_seconds)} | {_usd(s.lost_at_alert_usd)} | {lost} "
        f"| {_pct(s.value_money)} / {_pct(s.value_mean)} | {_pct(s.saved_money)} / {_pct(s.saved_mean)} | {by} |"
    )


def clean_table(clean: Clean) -> str:
    """Alerts and cuts of healthy keys."""
    upper = poisson_upper(clean.cuts) / clean.key_weeks * 1000
    families = ", ".join(f"{family} {count}" for family, count in clean.by)
    rates = " and ".join(f"{rate.every:.3g}" for rate in clean.rates)
    paces = " and ".join(f"{rate.velocity:.3g}" for rate in clean.rates)
    grown_weeks = clean.key_weeks - clean.cold_key_weeks
    lines = [
        "### Healthy traffic, week 2",
        "",
        "| figure | value |",
        "|---|---|",
        f"| key-weeks | {clean.key_weeks:.0f}, {clean.cold_key_weeks:.0f} of them of cold keys |",
        f"| `alarm_per_key_week` chosen on the other half | {rates} |",
        f"| alert episodes per key-week | {_rate(clean.alerts, clean.key_weeks)} |",
        f"| of grown keys | {_rate(clean.alerts - clean.cold_alerts, grown_weeks)} |",
        f"| of cold keys | {_rate(clean.cold_alerts, clean.cold_key_weeks)} |",
        f"| episodes that no threshold stops | {clean.unstoppable} |",
        f"| episodes by family | {families} |",
        f"| velocity alone: its `alarm_per_key_week` | {paces} |",
        f"| velocity alone: episodes per key-week, grown keys "
        f"| {_rate(clean.velocity_alerts, clean.velocity_key_weeks)} |",
        f"| wrongful automatic cuts | {clean.cuts}; per 1,000 key-weeks "
        f"{clean.cuts / clean.key_weeks * 1000:.1f}, below {upper:.1f} with 95 % confidence |",
    ]
    return "\n".join([*lines, "", *(f"- cut: {example}" for example in clean.cut_examples)])


def velocity_table(results: Sequence[Result]) -> str:
    """Runaways that velocity alone finds within the first ten minutes."""
    floor = VelocityConfig().min_usd_per_min
    lines = [
        "### Velocity alone, first 10 minutes, grown keys",
        "",
        f"| runaway | n | found (95 % CI) | n above {floor:g} USD/min (`velocity.min_usd_per_min`) | found of these |",
        "|---|---|---|---|---|",
    ]
    own = [result for result in results if result.velocity_alone]
    for size in dict.fromkeys(result.size for result in own):
        mine = [result for result in own if result.size == size]
        soon = [result for result in mine if result.alert_s is not None and result.alert_s <= FIRST_MS / 1000]
        dear = [result for result in mine if result.planned_usd / _DAY_MIN >= floor]
        seen = sum(result in soon for result in dear)
        lines.append(
            f"| {size} | {len(mine)} | {share(wilson(len(soon), len(mine)))} "
            f"| {len(dear)} | {share(wilson(seen, len(dear)))} |"
        )
    return "\n".join(lines)


def share(interval: Interval) -> str:
    """`82 % (74-88)`."""
    return f"{_pct(interval.value)} ({interval.low * 100:.0f}-{interval.high * 100:.0f})"


def _rate(count: int, weeks: float) -> str:
    return f"{count / weeks:.3f} ({count} in {weeks:.0f})" if weeks else "-"


def _pct(value: float) -> str:
    return "-" if math.isnan(value) else f"{value * 100:.1f} %" if value > 0.985 else f"{value * 100:.0f} %"


def _n(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _usd(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
