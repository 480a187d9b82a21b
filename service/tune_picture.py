"""The trade-off as a picture: alerts a week against thefts told and USD lost."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from alerting.words import counted, span
from service.history import WEEK_MS
from service.tune import Tuned
from service.tune_choose import Point

_NOW: Final = "#7f7f7f"
_THEN: Final = "#d62728"
_LINE: Final = "#1f77b4"
_LEFT: Final = -0.15  # of the axis: a curve that stands at no alerts at all would be hidden behind the frame
_NONE: Final = {"Software": None, "Creation Time": None}  # the same figures give the same bytes


def draw(tuned: Tuned, path: Path) -> None:
    """Write a PNG."""
    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _panel(left, tuned, what="thefts told, %")
    _panel(right, tuned, what="USD lost")
    right.set_ylim(bottom=0)
    left.set_ylim(0, 104)
    left.legend(loc="best", fontsize=8)
    kind = "planted" if tuned.planted else "marked"
    judged = span(tuned.weeks * WEEK_MS / 1000)
    title = f"{counted(len(tuned.thefts), f'{kind} theft')}, {counted(tuned.keys, 'key')}, {judged}"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, format="png", metadata=_NONE)


def _panel(axes: Any, tuned: Tuned, *, what: str) -> None:  # noqa: ANN401 - matplotlib's axes
    points = [point for _, point in tuned.curve]  # from loose to strict: steep where thresholds cost no alert
    axes.plot([_x(p) for p in points], [_y(p, what) for p in points], color=_LINE, label="all rates together")
    for point, color, label in ((tuned.current, _NOW, "now"), (tuned.proposed, _THEN, "proposed")):
        axes.plot([_x(point)], [_y(point, what)], "o", color=color, label=label)
    if isfinite(tuned.wanted_per_week):
        axes.axvline(tuned.wanted_per_week, color=_THEN, linewidth=0.8, linestyle=":", label="wanted")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(_LEFT, 1.5 * max(1.0, *(_x(p) for p in (tuned.current, tuned.proposed, *points))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda alerts, _: f"{alerts:,.0f}"))
    axes.set_xlabel("alerts per week")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)


def _x(point: Point) -> float:
    return point.per_week


def _y(point: Point, what: str) -> float:
    if what == "USD lost":
        return point.losses.lost_usd
    return 100 * point.losses.told / max(point.losses.thefts, 1)
