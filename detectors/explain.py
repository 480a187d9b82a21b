"""Numbers and rarities in words for a person woken at 3 a.m."""

from __future__ import annotations

from typing import Final

BLOCKS_PER_WEEK: Final = 1008
_BLOCKS_PER_YEAR: Final = 52_560


def rounded(value: float, digits: int = 4) -> float:
    """Four significant digits: enough for a person, and the same on every machine.

    >>> rounded(31.94871), rounded(0.000123456)
    (31.95, 0.0001235)
    """
    return float(f"{value:.{digits}g}")


def number(value: float) -> str:
    """Three significant digits without exponents.

    >>> number(31.9487), number(0.2106), number(1234567), number(0), number(0.00012)
    ('31.9', '0.211', '1,230,000', '0', '0.00012')
    """
    short = float(f"{value:.3g}")
    if abs(short) >= 100:
        return f"{short:,.0f}"
    return f"{short:.8f}".rstrip("0").rstrip(".")


def times(ratio: float) -> str:
    """How much more.

    >>> times(152.3), times(2.46)
    ('152 times more', '2.5 times more')
    """
    return f"{number(float(f'{ratio:.3g}') if ratio >= 10 else round(ratio, 1))} times more"


def percent(share: float) -> str:
    """A share of 1.

    >>> percent(0.963), percent(0.004)
    ('96 %', '0.4 %')
    """
    return f"{number(round(share * 100) if share >= 0.01 else round(share * 100, 1))} %"


def rarity(score: float) -> str:
    """How often a healthy key shows a score, given as -log10 of its chance within a 10-minute window.

    >>> rarity(7.4)
    'a healthy key shows this less than once in 470 key-years'
    >>> rarity(4.1), rarity(2)
    ('a healthy key shows this less than once in 12 key-weeks', 'a healthy key shows this about 10 times a week')
    """
    blocks = 10 ** min(score, 30.0)
    if blocks >= _BLOCKS_PER_YEAR * 1_000_000:
        often = "less than once in a million key-years"
    elif blocks >= _BLOCKS_PER_YEAR * 2:
        often = f"less than once in {_floor(blocks / _BLOCKS_PER_YEAR)} key-years"
    elif blocks >= BLOCKS_PER_WEEK * 2:
        often = f"less than once in {_floor(blocks / BLOCKS_PER_WEEK)} key-weeks"
    else:
        often = f"about {number(float(f'{BLOCKS_PER_WEEK / blocks:.2g}'))} times a week"
    return f"a healthy key shows this {often}"


def _floor(value: float) -> str:
    """Two leading digits, rounded down: "less than once in" must stay true."""
    step = 10 ** max(len(str(int(value))) - 2, 0)
    return f"{int(value) // step * step:,}"
