"""The blast radius as a picture: each key's worst day against what its environment may lose, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from alerting.words import usd
from controls.blast_radius import Radius

_MOST_KEYS: Final = 30
_LEAST_USD: Final = 0.01  # the axis is logarithmic: nothing is drawn as next to nothing
_OVER, _WITHIN, _AFTER, _LINE = "#c0392b", "#2e7d52", "#5b7fb4", "#222222"


def draw(radii: Sequence[Radius], after: Sequence[Radius] | None = None) -> bytes:
    """A PNG, the largest radius on top; at most 30 keys, and the title says how many there are."""
    shown = list(radii[:_MOST_KEYS])[::-1]
    then = {each.key_id: each for each in after or ()}
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(9.6, 1.6 + 0.34 * len(shown)), dpi=120, layout="constrained")
        axes = figure.subplots()
        for row, each in enumerate(shown):
            axes.barh(row, _drawn(each.day_usd), height=0.55, color=_WITHIN if each.within else _OVER)
            if each.key_id in then:
                axes.barh(row, _drawn(then[each.key_id].day_usd), height=0.22, color=_AFTER)
            axes.plot([_drawn(each.acceptable_usd)] * 2, [row - 0.4, row + 0.4], color=_LINE, linewidth=2)
            axes.annotate(
                f" {usd(each.day_usd)}", (_drawn(max(each.day_usd, each.acceptable_usd)), row), va="center", fontsize=8
            )
        axes.set_yticks(range(len(shown)), [_name(each) for each in shown])
        axes.set_xscale("log")
        axes.margins(x=0.18, y=0.02)
        axes.set_xlabel("USD in a day at worst; the black mark is what the environment may lose")
        over = sum(not each.within for each in radii)
        more = f", the {_MOST_KEYS} largest shown" if len(radii) > _MOST_KEYS else ""
        proposed = "; thin bar: as proposed" if then else ""
        axes.set_title(f"Blast radius of {len(radii)} keys{more}: {over} over the mark (red){proposed}", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        file = BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()


def _drawn(amount_usd: float) -> float:
    return max(amount_usd, _LEAST_USD)


def _name(each: Radius) -> str:
    short = each.key_id if len(each.key_id) <= 20 else f"{each.key_id[:12]}…{each.key_id[-4:]}"
    return f"{short} ({each.env})"
