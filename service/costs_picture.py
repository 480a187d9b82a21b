"""Costs as a picture: each day's spend, where the month is going, and who spent most."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from alerting.words import clean, usd
from controls.costs import NANO
from controls.forecast import DAY_MS
from service.costs_answer import CostsAnswer

_BAR: Final = "#1f77b4"
_TOLD: Final = "#d62728"
_SHOWN: Final = 10
_NONE: Final = {"Software": None, "Creation Time": None}  # the same figures give the same bytes


def draw(answer: CostsAnswer, path: Path) -> None:
    """Write a PNG."""
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _days(left, answer)
    _groups(right, answer)
    title = f"{_date(answer.from_ms)} to {_date(answer.until_ms)} UTC: {usd(answer.total.cost_nano_usd / NANO)} so far"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, format="png", metadata=_NONE)


def _days(axes: Any, answer: CostsAnswer) -> None:  # noqa: ANN401 - matplotlib's axes
    """Bars for each day, and the sum as it grows to the forecast."""
    begin = answer.from_ms - answer.from_ms % DAY_MS
    at = [(day - begin) // DAY_MS for day, _ in answer.days]
    axes.bar(at, [nano / NANO for _, nano in answer.days], color=_BAR, width=0.8)
    axes.set_ylabel("USD a day")
    axes.set_xlabel(f"days from {_date(begin)}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda amount, _: f"{amount:,.4g}"))
    total = axes.twinx()
    grown, so_far = [], 0
    for _, nano in answer.days:
        so_far += nano
        grown.append(so_far / NANO)
    total.plot([day + 0.5 for day in at], grown, color="#444444", label="sum")
    if answer.outlook is not None:
        now, end = (answer.now_ms - begin) / DAY_MS, (answer.until_ms - begin) / DAY_MS
        here, told = answer.total.cost_nano_usd / NANO, answer.outlook
        total.plot([now, end], [here, told.expected / NANO], color=_TOLD, linestyle="--", label="forecast")
        total.fill_between([now, end], [here, told.low / NANO], [here, told.high / NANO], color=_TOLD, alpha=0.15)
    total.set_ylim(bottom=0)
    total.set_ylabel("USD in all")
    total.legend(loc="upper left", fontsize=8)


def _groups(axes: Any, answer: CostsAnswer) -> None:  # noqa: ANN401 - as above
    rows = answer.rows[:_SHOWN][::-1]
    axes.barh(
        [clean(" ".join(row.group) or "-", 32) for row in rows], [r.cost_nano_usd / NANO for r in rows], color=_BAR
    )
    axes.set_xlabel(f"USD by {', '.join(answer.by)}")
    axes.tick_params(labelsize=8)


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
