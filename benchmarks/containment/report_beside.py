"""Tables of goals, hard negatives and baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.containment.goals import Goal
from benchmarks.containment.hard import Calm
from benchmarks.containment.measures import Result, wilson
from benchmarks.containment.report import share
from benchmarks.containment.rivals import Rival, RivalRun


def goals_table(goals: Sequence[Goal]) -> str:
    lines = ["### Goals", "", "| goal | wanted | measured | |", "|---|---|---|---|"]
    words = {True: "reached", False: "**not reached**", None: "not measured"}
    return "\n".join([*lines, *(f"| {g.name} | {g.wanted} | {g.measured} | {words[g.reached]} |" for g in goals)])


def negatives_table(calm: Sequence[Calm]) -> str:
    """One row per kind, with the words of one false alarm."""
    lines = [
        "### Hard negatives",
        "",
        "| change | n | alerted (95 % CI) | the same keys and hours without it | cut | by | one of the reasons |",
        "|---|---|---|---|---|---|---|",
    ]
    kinds = list(dict.fromkeys(one.kind for one in sorted(calm, key=lambda one: one.kind)))
    for kind in [*kinds, ""]:
        own = [one for one in calm if kind in ("", one.kind)]
        alerted = [one for one in own if one.alerted]
        by = ", ".join(f"{name} {sum(one.by == name for one in alerted)}" for name in sorted({o.by for o in alerted}))
        reason = next((one.reason for one in alerted), "") if kind else ""
        anyway = sum(one.alerted_anyway for one in own) / max(len(own), 1)
        lines.append(
            f"| {kind or '**all**'} | {len(own)} | {share(wilson(len(alerted), len(own)))} | {anyway * 100:.0f} % "
            f"| {sum(one.cut for one in own)} | {by} | {reason} |"
        )
    return "\n".join(lines)


def baselines_table(run: RivalRun, ours: Sequence[Result]) -> str:
    """Recall of each baseline by family and size, at about the same rate of alerts; ours on the same cells."""
    names = list(run.alerts_per_key_week)
    cells = list(dict.fromkeys((rival.family, rival.size) for rival in run.results))
    lines = [
        "### Baselines, grown keys",
        "",
        f"| found | ours | {' | '.join(names)} |",
        "|" + "---|" * (len(names) + 2),
        "| alerts per key-week | | " + " | ".join(f"{rate:.3f}" for rate in run.alerts_per_key_week.values()) + " |",
    ]
    for family, size in cells:
        own = [r for r in ours if (r.family, r.size) == (family, size) and not r.cold and not r.velocity_alone]
        row = [_found([result.alert_s for result in own])]
        row += [_found([rival.alert_s for rival in _of(run, name, family, size)]) for name in names]
        lines.append(f"| {family} {size} | {' | '.join(row)} |")
    kept = [_kept([rival for rival in run.results if rival.baseline == name]) for name in names]
    lines.append(f"| value detected, mean over thefts | {_kept_ours(ours, cells)} | {' | '.join(kept)} |")
    return "\n".join(lines)


def _of(run: RivalRun, name: str, family: str, size: str) -> list[Rival]:
    return [r for r in run.results if (r.baseline, r.family, r.size) == (name, family, size)]


def _found(alerts_s: Sequence[float | None]) -> str:
    """`80 % in 120 s`: share found, median seconds of those."""
    found = [alert for alert in alerts_s if alert is not None]
    if not alerts_s:
        return "-"
    return f"{len(found) / len(alerts_s) * 100:.0f} %" + (f" in {np.median(found):,.0f} s" if found else "")


def _kept(rivals: Sequence[Rival]) -> str:
    shares = [1 - min(rival.lost_usd / rival.planned_usd, 1.0) for rival in rivals if rival.planned_usd > 0]
    return f"{np.mean(shares) * 100:.0f} %" if shares else "-"


def _kept_ours(ours: Sequence[Result], cells: Sequence[tuple[str, str]]) -> str:
    own = [r for r in ours if (r.family, r.size) in cells and not r.cold and not r.velocity_alone and r.planned_usd > 0]
    value = float(np.mean([1 - min(r.lost_at_alert_usd / r.planned_usd, 1.0) for r in own])) if own else math.nan
    return "-" if math.isnan(value) else f"{value * 100:.0f} %"
