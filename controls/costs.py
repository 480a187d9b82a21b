"""Unit economics: what a request, a thousand tokens, a user costs. Whole nano-USD until it is shown. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

NANO: Final = 1_000_000_000
UNITS: Final = ("usd_per_request", "usd_per_1k_output_tokens", "usd_per_user", "cache_share")


def exact_usd(nano: int) -> Decimal:
    """Dollars with all nine places: sums of such figures are the sum.

    >>> exact_usd(1_500_000_001)
    Decimal('1.500000001')
    """
    return Decimal(nano).scaleb(-9)


def per(nano: int, number: int, *, times: int = 1) -> float | None:
    """USD for each of `number` things, or for `times` of them; None where there are none.

    >>> per(3_000_000_000, 2), per(3_000_000_000, 6_000, times=1000), per(5, 0)
    (1.5, 0.5, None)
    """
    return nano * times / number / NANO if number else None


def share(part: int, whole: int) -> float | None:
    """None of nothing.

    >>> share(1, 4), share(0, 0)
    (0.25, None)
    """
    return part / whole if whole else None


def change(before: int, after: int) -> str:
    """What became of a figure, in words.

    >>> change(100, 150), change(100, 5), change(0, 7), change(7, 0), change(100, 100_000), change(3, 3)
    ('+50 %', '-95 %', 'new', 'gone', '1,000 times', '+0 %')
    """
    if not before or not after:
        return ("gone" if before else "new") if before != after else "+0 %"
    times = after / before
    return f"{times:,.0f} times" if times >= 10 else f"{(times - 1) * 100:+.0f} %"
