"""The drawing of a picture, with matplotlib's object interface: no global state, no window, no display."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from PIL import Image

from alerting.moments import Moment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from alerting.picture import Series

# Okabe and Ito's colours: told apart with every kind of colour vision, and by lightness in grey.
PAPER, INK, SOFT, GRID = "#ffffff", "#1f2933", "#52606d", "#d9dee3"
NORMAL, BAND, _HOUR, BLUE, ABOVE = "#6b7885", "#d7ebf8", "#a5d0ec", "#0072b2", "#d55e00"
_COLOURS: Final = 64  # enough for these and the soft edges of letters; a third of the bytes
_LEFT, _RIGHT, _TOP, _GAP = 0.088, 0.978, 0.785, 0.018
_DAY_SHARE: Final = 0.42
_ROOM: Final = 1.32  # above the highest bar, for the numbers of the moments
_FONTS: Final = Path(get_data_path()) / "fonts" / "ttf"
_PLAIN, _BOLD = str(_FONTS / "DejaVuSans.ttf"), str(_FONTS / "DejaVuSans-Bold.ttf")
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it talks about its font cache


def draw(
    *, title: str, state: str, panels: tuple[Series, ...], marks: tuple[Moment, ...], at_ms: int,
    size_in: tuple[float, float], dpi: int,
) -> bytes:  # fmt: skip
    """The finished picture as PNG. `at_ms` is the moment that the panels' minutes are counted from."""
    figure = Figure(figsize=size_in, dpi=dpi, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    text(figure, 0.022, 0.952, title, size=min(11.0, 11 * 64 / len(title)), bold=True, va="center")
    text(figure, 0.022, 0.878, state, size=9.5, color=SOFT, va="center")
    bottom = 0.20 if len(marks) <= 2 else 0.275
    top = _top(panels)
    for panel, (left, width) in zip(panels, _places(len(panels)), strict=True):
        axes = figure.add_axes((left, bottom, width, _TOP - bottom), facecolor=PAPER)
        axes.set_xlim(panel.begin_min, panel.end_min)
        axes.set_ylim(0, top)
        _spend(axes, panel)
        _moments(axes, panel, marks, at_ms, last=panel is panels[-1])
        _frame(axes, panel, at_ms, numbers=panel is panels[0])
    _legend(figure, marks)
    return png_of(figure, canvas.get_width_height())


def png_of(figure: Figure, size: tuple[int, int]) -> bytes:
    drawn, out = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="rgba")
    pixels = Image.frombytes("RGBA", size, drawn.getvalue()).convert("RGB")
    pixels.quantize(_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _top(panels: tuple[Series, ...]) -> float:
    """Room for the spend, and for the normal where that does not make the spend itself small."""
    highest = max(*(max(panel.spend, default=0.0) for panel in panels), 1e-6)
    return _ROOM * max([highest, *(panel.peak for panel in panels if panel.peak < 3 * highest)])


def _places(count: int) -> list[tuple[float, float]]:
    if count == 1:
        return [(_LEFT, _RIGHT - _LEFT)]
    cut = _LEFT + _DAY_SHARE * (_RIGHT - _LEFT)
    return [(_LEFT, cut - _LEFT), (cut + _GAP, _RIGHT - cut - _GAP)]


def _spend(axes: Axes, panel: Series) -> None:
    """The band of the normal, and bars over it: grey within what is normal, orange above."""
    first = panel.bars_end_min - panel.step_min * len(panel.spend)
    edges = [first + panel.step_min * n for n in range(len(panel.spend) + 1)]
    limit = panel.peak or float("inf")
    if panel.peak:
        axes.axhspan(0, panel.peak, color=BAND, linewidth=0, zorder=0)
        axes.stairs(panel.by_hour, edges, fill=True, color=_HOUR, linewidth=0, zorder=0.1)
        axes.axhline(panel.peak, color=BLUE, linewidth=1.0, zorder=3)
    normal = [min(value, limit) for value in panel.spend]
    axes.stairs(normal, edges, fill=True, color=NORMAL, linewidth=0, zorder=1)
    axes.stairs(panel.spend, edges, baseline=normal, fill=True, color=ABOVE, linewidth=0, zorder=2)
    height = panel.peak / axes.get_ylim()[1]
    paper = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 1.0}
    place = 0.6 if not panel.peak else height + 0.03 if height < 0.6 else height - 0.09
    text(
        axes, 0.02, min(place, 0.6), panel.normal, size=8.5, color=BLUE, bbox=paper if panel.normal else None, zorder=5
    )


def _frame(axes: Axes, panel: Series, at_ms: int, *, numbers: bool) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    ticks = nice(axes.get_ylim()[1])
    axes.set_yticks(ticks, [short_usd(tick) if numbers else "" for tick in ticks], fontproperties=font(8.5))
    times = _times(panel, at_ms)
    axes.set_xticks([at for at, _ in times], [words for _, words in times], fontproperties=font(8.5))
    axes.tick_params(length=2.5, color=SOFT, labelcolor=SOFT, pad=2)
    axes.tick_params(axis="y", length=0)
    text(axes, 0.0, 1.035, panel.head, size=8.5, color=SOFT)


def _moments(axes: Axes, panel: Series, marks: tuple[Moment, ...], at_ms: int, *, last: bool) -> None:
    """A line with a number where something happened; numbers that would touch stand one below the other."""
    before, level = -1e9, 0
    width = panel.end_min - panel.begin_min
    for number, mark in enumerate(marks, 1):
        at = (mark.at_ms - at_ms) / 60_000
        at = min(at, panel.end_min - width / 60) if last else at
        if not panel.begin_min <= at < panel.end_min:
            continue
        level = level + 1 if at - before < width / 18 else 0
        before = at
        style = "-" if mark.done else (0, (3, 2))
        axes.axvline(at, color=INK, linewidth=1.0, linestyle=style, zorder=0.5)  # behind the bars it points at
        _badge(axes, (at, 0.94 - 0.14 * (level % 4)), number, mark, transform=axes.get_xaxis_transform())


def _legend(figure: Figure, marks: tuple[Moment, ...]) -> None:
    for place, mark in enumerate(marks):
        x, y = (0.03, 0.52)[place % 2], (0.125, 0.05)[place // 2] if len(marks) > 2 else 0.06
        _badge(figure, (x, y), place + 1, mark)
        clock = datetime.fromtimestamp(mark.at_ms / 1000, UTC).strftime("%H:%M:%S")
        text(figure, x + 0.03, y, f"{clock} {mark.words}", size=9, va="center")


def _badge(on: Axes | Figure, at: tuple[float, float], number: int, mark: Moment, **more: Any) -> None:  # noqa: ANN401 - matplotlib's own
    ink, fill = (PAPER, INK) if mark.done else (INK, PAPER)
    box = {"boxstyle": "circle,pad=0.22", "facecolor": fill, "edgecolor": INK, "linewidth": 1.0}
    text(on, *at, str(number), size=7.5, bold=True, color=ink, ha="center", va="center", bbox=box, zorder=6, **more)


def text(
    on: Axes | Figure, x: float, y: float, words: str, *, size: float, bold: bool = False, color: str = INK,
    **more: Any,  # noqa: ANN401 - matplotlib's own
) -> None:  # fmt: skip
    """Foreign text as it is: a dollar starts no formula, a sign that the font lacks becomes a question mark."""
    known = "".join(each if get_font(_PLAIN).get_char_index(ord(each)) else "?" for each in words)
    where: dict[str, Any] = {} if isinstance(on, Figure) or "transform" in more else {"transform": on.transAxes}
    on.text(x, y, known, fontproperties=font(size, bold=bold), color=color, parse_math=False, **where, **more)


def font(size: float, *, bold: bool = False) -> FontProperties:
    return FontProperties(fname=_BOLD if bold else _PLAIN, size=size)


def _times(panel: Series, at_ms: int) -> list[tuple[float, str]]:
    """Round times of day, UTC, at most five of them."""
    width = panel.end_min - panel.begin_min
    step = next((each for each in (15, 30, 60, 120, 180, 360) if width / each <= 5.2), 720)
    zero_min = at_ms / 60_000
    first = int(-(-(zero_min + panel.begin_min) // step)) * step
    last = int(zero_min + panel.end_min - width / 30)
    clock = datetime.fromtimestamp
    return [(at - zero_min, clock(at * 60, UTC).strftime("%H:%M")) for at in range(first, last + 1, step)]


def nice(top: float) -> list[float]:
    """Two to five round amounts from 0 to below the top.

    >>> nice(13.0), nice(0.52)
    ([0.0, 5.0, 10.0], [0.0, 0.2, 0.4])
    """
    size = 10.0 ** (int(f"{top:e}".split("e")[1]) - 1)
    step = next(size * each for each in (1, 2, 5, 10, 20, 50) if top / (size * each) <= 4.5)
    return [float(f"{step * n:.3g}") for n in range(int(top / step * 0.95) + 1)]


def short_usd(value: float) -> str:
    """Dollars short enough for an axis.

    >>> short_usd(0), short_usd(0.25), short_usd(15), short_usd(25_000), short_usd(2e6), short_usd(0.00002)
    ('$0', '$0.25', '$15', '$25k', '$2M', '$2e-05')
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"${value / limit:.3g}{unit}"
    return f"${value:.3g}"
