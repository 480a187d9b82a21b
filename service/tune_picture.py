"""The trade-off as a picture: alerts a week against thefts told and USD lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from service.tune import Tuned
from service.tune_choose import Point

_NOW: Final = "#7f7f7f"
_THEN: Final = "#d62728"
_LINE: Final = "#1f77b4"
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
    left.legend(loc="lower right", fontsize=8)
    kind = "planted" if tuned.planted else "marked"
    figure.suptitle(f"{len(tuned.thefts)} {kind} thefts, {tuned.keys} keys, {tuned.weeks:.2g} weeks", fontsize=10)
    figure.savefig(path, format="png", metadata=_NONE)


def _panel(axes: Any, tuned: Tuned, *, what: str) -> None:  # noqa: ANN401 - matplotlib's axes
    points = [point for _, point in tuned.curve]  # from loose to strict: steep where thresholds cost no alert
    axes.plot([_x(p) for p in points], [_y(p, what) for p in points], color=_LINE, label="all rates together")
    for point, color, label in ((tuned.current, _NOW, "now"), (tuned.proposed, _THEN, "proposed")):
        axes.plot([_x(point)], [_y(point, what)], "o", color=color, label=label)
    axes.axvline(tuned.wanted_per_week, color=_THEN, linewidth=0.8, linestyle=":", label="wanted")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0)
    axes.set_xlabel("alerts per week")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)


def _x(point: Point) -> float:
    return point.per_week


def _y(point: Point, what: str) -> float:
    if what == "USD lost":
        return point.losses.lost_usd
    return 100 * point.losses.told / max(point.losses.thefts, 1)
