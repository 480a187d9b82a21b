"""The spend of a whole replay as a drawing in SVG, with a number where each incident began. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from service.markup import Markup, Part, el, joined
from service.replay_report_facts import Timeline

_WIDTH, _HEIGHT = 680, 265
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 8, 62, 30
_FILL: Final = {"spend": "#6b7885", "saved": "#d55e00"}  # where the page's style does not reach into drawings
_MARKS_MOST: Final = 60
_LEVELS: Final = 4
_LEAST_USD: Final = 0.01  # traffic without a price has a scale too


def timeline(spend: Timeline, marks: Sequence[tuple[int, int]]) -> Markup:
    """Bars of spend: what happened, and on top what the cuts would have refused.

    Args:
        spend: The bars.
        marks: Number of an incident and when it began, in time order.
    """
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bars = [happened + refused for happened, refused in zip(spend.happened, spend.refused, strict=True)]
    top = max(*bars, _LEAST_USD) * 1.05
    return el(
        "svg",
        el("title", "Spend over time, with the incidents"),
        _scale(spend, top, (width, height)),
        _bars(spend.happened, [0.0] * len(bars), (width, height, top), "spend"),
        _bars(spend.refused, spend.happened, (width, height, top), "saved"),
        el("line", x1=_LEFT, y1=_TOP + height, x2=_LEFT + width, y2=_TOP + height, class_="axis", stroke="#52606d"),
        _marks(spend, marks, width, height),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", class_="timeline",
    )  # fmt: skip


def _bars(values: Sequence[float], below: Sequence[float], size: tuple[int, int, float], kind: str) -> Markup:
    width, height, top = size
    step = width / len(values)
    bars = []
    for place, (value, base) in enumerate(zip(values, below, strict=True)):
        if value > 0:
            tall = max(value / top * height, 0.8)
            y = _TOP + height - base / top * height - tall
            bars.append(
                el("rect", x=_px(_LEFT + place * step), y=_px(y), width=_px(max(step - 0.6, 0.6)), height=_px(tall))
            )
    return el("g", *bars, class_=kind, fill=_FILL[kind])


def _scale(spend: Timeline, top: float, size: tuple[int, int]) -> Markup:
    width, height = size
    parts: list[Part] = []
    for amount in _nice(top):
        y = _px(_TOP + height - amount / top * height)
        parts.append(el("line", x1=_LEFT, y1=y, x2=_LEFT + width, y2=y, class_="grid", stroke="#d9dee3"))
        parts.append(el("text", _usd(amount), x=_LEFT - 6, y=float(y) + 4, text_anchor="end", font_size=12))
    for place, words in _times(spend):
        x = _LEFT + width * place / len(spend.happened)
        parts.append(el("text", words, x=_px(x), y=_HEIGHT - 10, text_anchor="middle", font_size=12))
    return joined(*parts)


def _marks(spend: Timeline, marks: Sequence[tuple[int, int]], width: int, height: int) -> Markup:
    parts: list[Part] = []
    before = [-1e9] * _LEVELS
    for number, at_ms in marks[:_MARKS_MOST]:
        x = _LEFT + width * (at_ms - spend.start_ms) / (spend.step_ms * len(spend.happened))
        level = next((each for each in range(_LEVELS) if x - before[each] > 15), before.index(min(before)))
        before[level] = x
        y = _TOP - 9 - 13 * level
        parts.append(el("line", x1=_px(x), y1=y, x2=_px(x), y2=_TOP + height, class_="mark", stroke="#52606d"))
        words = el("text", number, x=_px(x), y=y + 3.5, text_anchor="middle", fill="#fff", font_size=9)
        parts.append(el("a", el("circle", cx=_px(x), cy=y, r=7), words, href=f"#incident-{number}", class_="badge"))
    return joined(*parts)


def _times(spend: Timeline) -> list[tuple[int, str]]:
    """Up to five places with their time of day; the date where it changes."""
    every_ms = next(each * spend.step_ms for each in (1, 2, 3, 6, 12, 24, 36, 48) if len(spend.happened) / each <= 5.2)
    first = -(-spend.start_ms // every_ms) * every_ms  # round times of day
    said, day = [], ""
    for place in range((first - spend.start_ms) // spend.step_ms, len(spend.happened), every_ms // spend.step_ms):
        moment = datetime.fromtimestamp((spend.start_ms + place * spend.step_ms) / 1000, UTC)
        words = moment.strftime("%b %d, %H:%M" if moment.strftime("%d") != day else "%H:%M")
        day = moment.strftime("%d")
        said.append((place, words))
    return said


def _nice(top: float) -> list[float]:
    """Three to five round amounts from 0.

    >>> _nice(13.0)
    [0.0, 5.0, 10.0]
    """
    size = 10.0 ** (int(f"{top:e}".split("e")[1]) - 1)
    step = next(size * each for each in (1, 2, 5, 10, 20, 50) if top / (size * each) <= 4.5)
    return [float(f"{step * n:.3g}") for n in range(int(top / step) + 1)]


def _usd(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 or amount == 0 else f"${amount:.3g}"


def _px(value: float) -> str:
    return f"{value:.1f}"
