"""A budget as a picture: what was spent since its period began, against its limit, and where that leads."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alerting import picture_panel as panel
from alerting.budgets import amount
from alerting.words import clean
from schemas.records import BudgetView, rfc3339

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BOX: Final = (0.09, 0.11, 0.865, 0.68)
_TICKS: Final = 5


def draw_budget(view: BudgetView, *, size_in: tuple[float, float], dpi: int) -> bytes:
    """PNG bytes. Grey: spent; the line: the limit; dashed: the thresholds; dotted: at this pace."""
    figure = Figure(figsize=size_in, dpi=dpi, facecolor=panel.PAPER)
    canvas = FigureCanvasAgg(figure)
    title = f"Budget {clean(view.budget, 60)}"
    panel.text(figure, 0.022, 0.952, title, size=11, bold=True, va="center")
    panel.text(figure, 0.022, 0.878, clean(_words(view), 92), size=9.5, color=panel.SOFT, va="center")
    axes = figure.add_axes(_BOX, facecolor=panel.PAPER)
    hours, spent = _course(view)
    end = max((view.until_ms - view.from_ms) / 3_600_000, hours[-1])
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1.15 * max(view.limit, spent[-1], min(view.projected or 0.0, 1.6 * view.limit)))
    _spent(axes, view, hours, spent, end)
    _limits(axes, view)
    _frame(axes, view, end)
    return panel.png_of(figure, canvas.get_width_height())


def _words(view: BudgetView) -> str:
    words = f"{amount(view, view.spent)} of {amount(view, view.limit)} spent, {view.spent / view.limit:.0%}"
    if view.projected is not None and not view.used_up:
        words += f"; at this pace {amount(view, view.projected)} by {rfc3339(view.until_ms)[:10]}"
    return f"{words} ({view.period}, UTC)"


def _course(view: BudgetView) -> tuple[list[float], list[float]]:
    """Hours since the period began, and what was spent by then."""
    steps = [value or 0.0 for value in view.steps.values]
    now_h = (view.at_ms - view.from_ms) / 3_600_000
    hours = [0.0, *(min(now_h, (at + 1) * view.step_s / 3600) for at in range(len(steps)))]
    spent = [0.0, *accumulate(steps)]
    return hours, [*spent[:-1], view.spent]


def _spent(axes: Axes, view: BudgetView, hours: list[float], spent: list[float], end: float) -> None:
    axes.fill_between(hours, spent, color=panel.NORMAL, linewidth=0, zorder=1)
    over = [max(value, view.limit) for value in spent]
    axes.fill_between(hours, over, view.limit, color=panel.ABOVE, linewidth=0, zorder=2)
    axes.plot([0, end], [0, view.limit], color=panel.BAND, linewidth=1.2, zorder=0.5)
    if view.projected is not None and not view.used_up:
        ahead = [spent[-1], view.projected]
        axes.plot([hours[-1], end], ahead, color=panel.ABOVE, linewidth=1.4, linestyle=":", zorder=3)


def _limits(axes: Axes, view: BudgetView) -> None:
    axes.axhline(view.limit, color=panel.BLUE, linewidth=1.2, zorder=4)
    top = axes.get_ylim()[1]
    words = f"{amount(view, view.limit)}{', then gates refuse' if view.stops else ''}"
    panel.text(axes, 0.01, view.limit / top + 0.02, words, size=8.5, color=panel.BLUE, zorder=5)
    for percent in view.thresholds:
        if percent < 100:
            axes.axhline(view.limit * percent / 100, color=panel.BLUE, linewidth=0.6, linestyle=(0, (4, 3)), zorder=3)


def _frame(axes: Axes, view: BudgetView, end: float) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(panel.SOFT)
    ticks = panel.nice(axes.get_ylim()[1])
    words = [panel.short_usd(tick) if view.unit == "usd" else f"{tick:.3g}" for tick in ticks]
    axes.set_yticks(ticks, words, fontproperties=panel.font(8.5))
    places = [end * at / _TICKS for at in range(_TICKS + 1)]
    shape = "%b %d" if end > 72 else "%H:%M"
    times = [datetime.fromtimestamp(view.from_ms / 1000 + at * 3600, UTC).strftime(shape) for at in places]
    axes.set_xticks(places, times, fontproperties=panel.font(8.5))
    axes.tick_params(length=2.5, color=panel.SOFT, labelcolor=panel.SOFT, pad=2)
